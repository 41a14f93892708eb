"""RequestMiddleware by itself, around endpoints of a test, without a connection."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="needs qa-onnx[serve]")

from fastapi import FastAPI, Request

from qa_onnx.serve import Settings
from qa_onnx.serve.bodies import PlainRoute
from qa_onnx.serve.metrics import Metrics
from qa_onnx.serve.middleware import RequestMiddleware
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from starlette.types import Message

HEAD = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/v1/answer",
    "query_string": b"",
    "headers": [(b"host", b"localhost")],
}


def ask(receive: Any) -> tuple[list[Message], str]:
    """Ask an endpoint that never answers; return what was sent, and the page of metrics."""
    app = FastAPI()
    app.router.route_class = PlainRoute

    @app.post("/v1/answer")
    async def never(_: Request) -> None:
        await asyncio.Event().wait()

    metrics = Metrics()
    service: Any = SimpleNamespace(settings=Settings(owns_process=False), metrics=metrics)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    answered = RequestMiddleware(app, service)(HEAD, receive, send)
    asyncio.run(asyncio.wait_for(answered, PATIENCE_S))
    return sent, metrics.page().decode()


def test_a_client_that_goes_away_ends_its_request() -> None:
    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    sent, page = ask(receive)
    assert sent == []
    assert 'qa_onnx_requests_total{code="499",endpoint="/v1/answer"} 1.0' in page


def test_a_connection_that_fails_is_no_client_that_went_away() -> None:
    messages = iter([{"type": "http.request"}])

    async def receive() -> Message:
        for message in messages:
            return message
        raise RuntimeError("the connection is broken")

    (start, body), page = ask(receive)
    assert start["status"] == 500
    assert json.loads(body["body"])["title"] == "Internal Server Error"
    assert 'qa_onnx_errors_total{error="RuntimeError"} 1.0' in page
