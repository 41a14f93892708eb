"""What every request has: an id, response headers, a log line, metrics; what fails becomes a problem.

Plain ASGI, as limits.py is, which stands between this and the endpoints: both see the messages of a request as
they come.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from qa_onnx.serve import problems
from qa_onnx.serve.logs import LOGGER, raised

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from qa_onnx.serve.metrics import Metrics
    from qa_onnx.serve.problems import Problem
    from qa_onnx.serve.service import Service

ENDPOINTS = frozenset(
    {"/", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready", "/v1/answer", "/v1/scores"}
    | {"/v1/bundle"}
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_GONE = 499  # the code of logs and metrics for a client that went away, as nginx has it

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class ClientGoneError(Exception):
    """The client closed its connection before it had its answer."""


@dataclass(slots=True)
class RequestState:
    """What is known of a request, in `scope["qa_onnx"]`.

    Attributes:
        id: the client's X-Request-ID, or a new one.
        endpoint: its path where that is an endpoint's, else "other", since a path may hold anything.
        arrived: when its head was there, as `time.monotonic` counts.
        body: all of it, once it has been read.
        questions: how many were asked.
        code: of the response, once that has begun.
        complete: the response has been sent to its end.
    """

    id: str
    endpoint: str
    arrived: float = field(default_factory=monotonic)
    body: bytes = b""
    questions: int = 0
    code: int = 0
    complete: bool = False

    @property
    def milliseconds(self) -> float:
        """Since it arrived."""
        return 1000 * (monotonic() - self.arrived)


class Requests:
    """The outermost layer.

    Args:
        app: what is inside.
        service: counts requests under way, which a graceful stop waits for.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given, path = header(scope, b"x-request-id"), scope["path"]
        known = _REQUEST_ID.fullmatch(given)
        request = RequestState(
            given.decode("ascii") if known else uuid.uuid4().hex, path if path in ENDPOINTS else "other"
        )
        scope["qa_onnx"] = request

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.code = message["status"]
                there = {name for name, _ in message["headers"]}
                headers = [(name, value) for name, value in _HEADERS if name not in there]
                message["headers"] = [*message["headers"], *headers, (b"x-request-id", request.id.encode())]
            elif not message.get("more_body", False):
                request.complete = True
            await send(message)

        self._service.under_way += 1
        try:
            await self._app(scope, receive, send_more)
        except ClientGoneError:
            request.code = _GONE
        except Exception as error:
            if not request.complete:  # else the endpoints have made a problem of it, and sent that
                problem = failed(error, request, self._service.metrics)
                if request.code:
                    raise  # the client must see that its answer is not whole
                await _send_problem(problem, send_more, request)
        finally:
            self._service.under_way -= 1
            self._log(scope, request)

    def _log(self, scope: Scope, request: RequestState) -> None:
        seconds = monotonic() - request.arrived
        self._service.metrics.request(request.endpoint, request.code, seconds)
        fields: dict[str, Any] = {
            "request_id": request.id,
            "method": scope["method"] if scope["method"] in _METHODS else "other",
            "endpoint": request.endpoint,
            "code": request.code,
            "milliseconds": round(1000 * seconds, 3),
            "bytes": len(request.body),
        }
        if request.questions:
            fields["questions"] = request.questions
        LOGGER.info("request", extra={"fields": fields})


def failed(error: Exception, request: RequestState, metrics: Metrics) -> Problem:
    """Count an error, log it where it is the server's fault, and make a problem of it."""
    problem = problems.of_error(error)
    metrics.error(error)
    if problem.status == 500:
        LOGGER.error("a request failed", extra={"fields": {"request_id": request.id, **raised(error)}})
    return problem


def header(scope: Scope, name: bytes) -> bytes:
    """The first value of a header; empty where there is none."""
    value: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return value


async def _send_problem(problem: Problem, send: Send, request: RequestState) -> None:
    """Send a problem as the response."""
    body = problem.body(request.id)
    headers = {"Content-Type": problems.MEDIA_TYPE, "Content-Length": str(len(body)), **problem.headers}
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
