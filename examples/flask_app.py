"""Answers inside of a Flask app: `gunicorn -c gunicorn_conf.py flask_app:app`, in this folder.

Each process loads one reader when it imports this file. The questions of its threads share batches.
"""

from math import ceil
from typing import Any

from flask import Flask, abort, request

from qa_onnx import AsyncReader, DeadlineError, InputError, QueueFullError, Reader

app = Flask(__name__)
asking = AsyncReader(Reader.load(), max_queue=64)


@app.post("/answer")
def answer() -> Any:
    asked = request.get_json()
    try:
        # `submit` needs no event loop: threads wait for their own answers.
        prediction = asking.submit((asked.get("question"), asked.get("context")), timeout_s=10).result()
    except InputError as error:
        abort(422, str(error))
    except QueueFullError as full:
        return {"error": "busy"}, 429, {"Retry-After": str(ceil(full.retry_after_s))}
    except DeadlineError:
        return {"error": "no answer within 10 s"}, 504
    return asking.choose(prediction).to_dict()
