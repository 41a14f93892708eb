"""Answers inside of a Django project, as one file: `python django_app.py runserver --noreload`, in this folder.

In a project of your own `asking` and `answer` are in views.py. Each process loads one reader when it imports them.
"""

import json
import sys
from math import ceil

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from qa_onnx import AsyncReader, DeadlineError, QueueFullError, Reader

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"], SECRET_KEY="of your own")
django.setup()
asking = AsyncReader(Reader.load(), max_queue=64)


@csrf_exempt  # for programs with a key or the like; a form of your own pages keeps its token
@require_POST
def answer(request: HttpRequest) -> JsonResponse:
    try:
        asked = json.loads(request.body)
        prediction = asking.submit((asked.get("question"), asked.get("context")), timeout_s=10).result()
    except (ValueError, AttributeError) as error:  # InputError is a ValueError
        return JsonResponse({"error": str(error)}, status=422)
    except QueueFullError as full:
        return JsonResponse({"error": "busy"}, status=429, headers={"Retry-After": str(ceil(full.retry_after_s))})
    except DeadlineError:
        return JsonResponse({"error": "no answer within 10 s"}, status=504)
    return JsonResponse(asking.choose(prediction).to_dict())


urlpatterns = [path("answer", answer)]
app = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
