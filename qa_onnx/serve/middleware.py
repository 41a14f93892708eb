"""ASGI middleware around the endpoints: each request gets an id, limits, a log line and metrics.

    key -> body, within its limits of size and time -> endpoint, cancelled when its client goes away

Plain ASGI and not Starlette's `BaseHTTPMiddleware`, because it must see each message as it comes.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from qa_onnx.serve import keys, problems
from qa_onnx.serve.logs import LOGGER, describe_error
from qa_onnx.serve.problems import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from qa_onnx.serve.metrics import Metrics
    from qa_onnx.serve.service import Service

_PUBLIC = frozenset({"/", "/docs", "/openapi.json", "/health/live", "/health/ready"})  # need no API key
ENDPOINTS = _PUBLIC | {"/metrics", "/v1/answer", "/v1/scores", "/v1/bundle"}
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CLIENT_GONE = 499  # nginx's code for a client that went away; only logs and metrics see it
_MAX_BODIES = 64  # bodies of the largest size that are in memory at the same time

_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store"}


class ClientGoneError(Exception):
    """The client closed its connection, or stopped reading, before it had its answer."""


@dataclass(slots=True)
class RequestState:
    """State of one request, in `scope["qa_onnx"]`.

    Attributes:
        id: the client's X-Request-ID, or a new one.
        endpoint: the path if it is an endpoint's, else "other": a path may hold anything.
        arrived: time at which its head was complete, by `time.monotonic`.
        bytes: size of its body.
        questions: number of questions in it.
        status: of the response; 0 before it starts.
        complete: the whole response was sent.
        gone: the client went away.
    """

    id: str
    endpoint: str
    arrived: float = field(default_factory=monotonic)
    bytes: int = 0
    questions: int = 0
    status: int = 0
    complete: bool = False
    gone: bool = False

    @property
    def milliseconds(self) -> float:
        """Milliseconds since it arrived."""
        return 1000 * (monotonic() - self.arrived)


class RequestMiddleware:
    """The outermost layer of the application.

    Args:
        app: the endpoints.
        service: has the limits and the metrics.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._settings = service.settings
        self._metrics = service.metrics
        self._held = 0  # bytes of all bodies in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        request_id = headers.get("x-request-id", "")
        state = RequestState(
            request_id if _REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex,
            path if path in ENDPOINTS else "other",
        )
        scope["qa_onnx"] = state

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                state.status = message["status"]
                response_headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    response_headers.setdefault(name, value)
                response_headers["x-request-id"] = state.id
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                state.complete = True

        try:
            await self._answer(scope, headers, receive, send_more)
        except ClientGoneError:
            state.status = _CLIENT_GONE
        except Exception as error:
            if not state.complete:  # otherwise the endpoints have sent a problem already
                response = to_problem(error, state, self._metrics).response(state.id)
                if state.status:
                    raise  # closes the connection: the client must see that its answer is incomplete
                await response(scope, receive, send_more)
        finally:
            self._log(scope["method"], state)

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Check the key, read the body and run the endpoint."""
        state: RequestState = scope["qa_onnx"]
        accepted = self._settings.keys
        if accepted and state.endpoint not in _PUBLIC and not keys.is_valid(headers, accepted):
            raise problems.no_key()
        body = bytearray()
        try:
            await self._read(headers, receive, body)
            state.bytes = len(body)
            self._metrics.stage("read", monotonic() - state.arrived)
            await self._run(scope, bytes(body), receive, send)
        finally:
            self._held -= len(body)

    async def _read(self, headers: Headers, receive: Receive, body: bytearray) -> None:
        """Append the request's body to `body`, within the limits of size and time."""
        limit, seconds = self._settings.max_request_bytes, self._settings.read_timeout_s
        too_large = Problem(413, f"the body is larger than {limit} bytes, the limit of this server: send less")
        length = headers.get("content-length", "0")
        if len(length) > 18 or (length.isdigit() and int(length) > limit):
            raise too_large
        more = True
        try:
            async with asyncio.timeout(seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    part, more = message.get("body", b""), message.get("more_body", False)
                    body += part
                    self._held += len(part)
                    if len(body) > limit:
                        raise too_large
                    if self._held > _MAX_BODIES * limit:
                        raise problems.busy("too many requests are being read", 1)
        except TimeoutError:
            detail = f"the body did not arrive within {seconds:g} s"
            raise Problem(408, detail, headers={"Connection": "close"}) from None

    async def _run(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Run the endpoint; cancel it, and its questions, when the client goes away or stops reading."""
        state: RequestState = scope["qa_onnx"]
        messages = [{"type": "http.request", "body": body}]

        async def give_body() -> Message:
            return messages.pop() if messages else await asyncio.get_running_loop().create_future()

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._settings.read_timeout_s):
                    await send(message)
            except TimeoutError:
                stop()
                raise asyncio.CancelledError from None

        def stop(_: object = None) -> None:
            if not state.complete:  # at the end of a response uvicorn reports a disconnect as well
                state.gone = True
                endpoint.cancel()

        endpoint = asyncio.ensure_future(self._app(scope, give_body, send_in_time))
        disconnect = asyncio.ensure_future(receive())
        disconnect.add_done_callback(stop)
        try:
            await endpoint
        except asyncio.CancelledError:
            if state.gone:
                raise ClientGoneError from None
            raise
        finally:
            disconnect.remove_done_callback(stop)
            disconnect.cancel()

    def _log(self, method: str, state: RequestState) -> None:
        milliseconds = state.milliseconds
        self._metrics.requests.labels(state.endpoint, str(state.status)).inc()
        self._metrics.request_seconds.labels(state.endpoint).observe(milliseconds / 1000)
        fields: dict[str, Any] = {
            "request_id": state.id,
            "method": method if method in _METHODS else "other",
            "endpoint": state.endpoint,
            "code": state.status,
            "milliseconds": round(milliseconds, 3),
            "bytes": state.bytes,
        }
        if state.questions:
            fields["questions"] = state.questions
        LOGGER.info("request", extra={"fields": fields})


def to_problem(error: BaseException, state: RequestState, metrics: Metrics) -> Problem:
    """Count an error, log it if it is the server's fault, and return its problem."""
    problem = problems.from_error(error)
    refused = isinstance(error, HTTPException | RequestValidationError)
    metrics.errors.labels(type(problem if refused else error).__name__).inc()
    if problem.status_code == 500:
        LOGGER.error("a request failed", extra={"fields": {"request_id": state.id, **describe_error(error)}})
    return problem
