"""Answers in workers of Celery: `BROKER=redis://localhost celery -A celery_tasks worker --concurrency 4`.

A worker process has one reader with one core, which it loads when it starts. In your program:
`answer.delay("Who designed the tower?", text).get(timeout=60)`.
"""

import os
from functools import cache
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from qa_onnx import Reader

app = Celery("answers", broker=os.environ.get("BROKER", "memory://"), backend=os.environ.get("BACKEND", "rpc://"))


@cache
def reader() -> Reader:
    """Return the reader of this process; importing this file in a web server loads none."""
    return Reader.load(threads=1)


@worker_process_init.connect
def load(**_: Any) -> None:
    reader()


@app.task
def answer(question: str, context: str) -> dict[str, Any]:
    return reader().ask(question, context).to_dict()


@app.task
def answer_many(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """One task for some hundred questions: together they are faster, and the broker has less to do."""
    predictions = reader().predict([(question, context) for question, context in pairs])
    return [reader().choose(prediction).to_dict() for prediction in predictions]
