"""What happens to every request before and after its endpoint.

    Requests   id, response headers, metrics, log line; what fails becomes a problem
    Limits     stopping, API key, size and time of the body, a client that goes away

Both are plain ASGI: they see the messages of a request as they come.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from qa_onnx.serve import keys, problems
from qa_onnx.serve.logs import LOGGER, raised
from qa_onnx.serve.problems import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from qa_onnx.serve.metrics import Metrics
    from qa_onnx.serve.service import Service

ENDPOINTS = frozenset(
    {"/", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready", "/v1/answer", "/v1/scores"}
    | {"/v1/bundle"}
)
_WITHOUT_KEY = frozenset({"/", "/docs", "/openapi.json", "/health/live", "/health/ready"})
_ALWAYS = frozenset({"/health/live", "/health/ready", "/metrics"})  # while starting and stopping too
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_MOST_BODIES = 64  # of the largest size, that are held at a time
_GONE = 499  # the code of logs and metrics for a client that went away, as nginx has it

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class ClientGoneError(Exception):
    """The client closed its connection before it had its answer."""


@dataclass(slots=True)
class Request:
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
        given, path = _header(scope, b"x-request-id"), scope["path"]
        known = _REQUEST_ID.fullmatch(given)
        request = Request(
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
            problem = failed(error, request, self._service.metrics)
            if not request.code:
                await _send_problem(problem, send_more, request)
            elif not request.complete:  # the client must see that its answer is not whole
                raise
        finally:
            self._service.under_way -= 1
            self._log(scope, request)

    def _log(self, scope: Scope, request: Request) -> None:
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


class Limits:
    """Lets through what may be answered, with its body read.

    Args:
        app: the endpoints.
        service: knows whether the server is stopping, and the limits.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._settings = service.settings
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request: Request = scope["qa_onnx"]
        self._check_key(scope, request)
        parts: list[bytes] = []
        try:
            await self._read(scope, receive, parts)
            request.body = b"".join(parts)
            self._service.metrics.stage("read", monotonic() - request.arrived)
            if self._service.stopping and request.endpoint not in _ALWAYS:
                raise problems.stopping()
            await self._until_gone(scope, receive, send)
        finally:
            self._held -= sum(map(len, parts))

    def _check_key(self, scope: Scope, request: Request) -> None:
        if not self._settings.keys or request.endpoint in _WITHOUT_KEY:
            return
        if not keys.accepted(_header(scope, b"authorization"), self._settings.keys):
            raise Problem(
                401,
                "this server wants an API key: send the header Authorization: Bearer KEY",
                headers={"WWW-Authenticate": 'Bearer realm="qa-onnx"'},
            )

    async def _read(self, scope: Scope, receive: Receive, parts: list[bytes]) -> None:
        """Read the body, up to the limits of size and time."""
        limit = self._settings.max_request_bytes
        too_large = Problem(
            413, f"the body is larger than {limit} bytes, the limit of this server: send less at once"
        )
        length = _header(scope, b"content-length")
        if len(length) > 18 or (length.isdigit() and int(length) > limit):
            raise too_large
        size, more = 0, True
        try:
            async with asyncio.timeout(self._settings.read_timeout_s):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    part, more = message.get("body", b""), message.get("more_body", False)
                    parts.append(part)
                    size += len(part)
                    self._held += len(part)
                    if size > limit:
                        raise too_large
                    if self._held > _MOST_BODIES * limit:
                        raise problems.busy("the server holds as many requests as it can", 1)
        except TimeoutError:
            seconds = self._settings.read_timeout_s
            raise Problem(
                408, f"the body did not arrive within {seconds:g} s", headers={"Connection": "close"}
            ) from None

    async def _until_gone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the endpoint; stop it, and what it asked of the reader, when the client goes away."""
        request: Request = scope["qa_onnx"]
        gone = asyncio.Event()

        async def receive_no_more() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        endpoint = asyncio.ensure_future(self._app(scope, receive_no_more, send))
        watch = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((endpoint, watch), return_when=asyncio.FIRST_COMPLETED)
            if not endpoint.done() and not request.complete:  # at the end of a response uvicorn says so too
                gone.set()
                endpoint.cancel()
            await asyncio.wait((endpoint,))
            if endpoint.cancelled():
                raise ClientGoneError
            endpoint.result()
        finally:
            endpoint.cancel()
            watch.cancel()


def failed(error: Exception, request: Request, metrics: Metrics) -> Problem:
    """Count an error, log it where it is the server's fault, and make a problem of it."""
    problem = problems.of_error(error)
    metrics.error(error)
    if problem.status == 500:
        LOGGER.error("a request failed", extra={"fields": {"request_id": request.id, **raised(error)}})
    return problem


def _header(scope: Scope, name: bytes) -> bytes:
    value: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return value


async def _send_problem(problem: Problem, send: Send, request: Request) -> None:
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
