"""ASGI middleware around the endpoints: each request gets an id, limits, a log line and metrics.

    head -> host -> key -> body, within limits of size and time -> endpoint, cancelled when its client goes away

Plain ASGI and not Starlette's `BaseHTTPMiddleware`, because it must see each message as it comes. It is the only
middleware, and calls the router of the application directly: it handles errors itself, and each layer takes time.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse

from qa_onnx.serve import keys, logs, problems
from qa_onnx.serve.endpoints import HEALTH, PUBLIC, Endpoints, body_limit, speaks_protocol
from qa_onnx.serve.heads import check_head
from qa_onnx.serve.hosts import AllowedHosts, host_of
from qa_onnx.serve.problems import HEADERS, Problem, new_request_id
from qa_onnx.serve.root_path import below_root

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Message, Receive, Scope, Send

    from qa_onnx.serve.metrics import Metrics
    from qa_onnx.serve.service import Service

_OTHER_SITES = frozenset({b"cross-site", b"same-site"})  # values of Sec-Fetch-Site; a site has many ports
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CLIENT_GONE = 499  # nginx's code for a client that went away; only logs and metrics see it
_SMALL_BODY = 64 * 1024  # bytes of a body for which room is kept while larger ones fill the memory
_UNWATCHED_S = 0.25  # most requests are answered by then, also under load, and to watch their client costs a task
_ASGI = {"version": "3.0", "spec_version": "2.4"}  # 2.4: `send` raises where its client is gone


@dataclass(slots=True)
class RequestState:
    """State of one request, in `scope["qa_onnx"]`.

    Attributes:
        id: the client's X-Request-ID, or a new one.
        endpoint: see `Endpoints.find`.
        headers: values by name in lower case.
        arrived: time at which its head was complete, by `time.monotonic`.
        deadline: when its time is over.
        body: grows while it is read; empty once it is parsed.
        size: bytes of the body, while it is read and afterwards.
        questions: number of questions in it.
        status: of the response; 0 before it starts.
    """

    id: str
    endpoint: str
    headers: dict[bytes, bytes]
    arrived: float
    deadline: float
    body: bytearray = field(default_factory=bytearray)
    size: int = 0
    questions: int = 0
    status: int = 0

    @property
    def milliseconds(self) -> float:
        """Milliseconds since it arrived."""
        return 1000 * (monotonic() - self.arrived)

    def header(self, name: bytes, default: bytes = b"") -> str:
        """Return the value of a header, whose name is in lower case."""
        return self.headers.get(name, default).decode("latin-1")


class RequestMiddleware:
    """The outermost layer of the application.

    Args:
        app: the endpoints.
        service: has the limits and the metrics.
    """

    def __init__(self, app: FastAPI, service: Service) -> None:
        self._app = app
        self._endpoints = Endpoints(app.routes)
        self._settings = service.settings
        self._metrics = service.metrics
        self._hosts = AllowedHosts(service.settings.allowed_hosts, loopback=service.settings.loopback)
        self._total = service.settings.total_bytes
        self._held = 0  # bytes of all bodies whose requests are not answered yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the start and end of the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrived = monotonic()
        scope, path = below_root(scope, self._settings.root_path)
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"").decode("latin-1")
        state = RequestState(
            request_id if _REQUEST_ID.fullmatch(request_id) else new_request_id(),
            self._endpoints.find(path or "/"),
            headers,
            arrived,
            arrived + self._settings.timeout_s,
        )
        send_in_time = self._sender(state, send)
        try:
            try:
                await self._answer(state, scope, receive, send_in_time)
            except Exception as error:
                if state.status or isinstance(error, ClientDisconnect):
                    raise  # closes the connection: the client must see that its answer is incomplete
                problem = to_problem(error, state, self._metrics)
                response = problem.response(state.id, protocol=speaks_protocol(path))
                await response(scope, receive, send_in_time)
        except ClientDisconnect:
            state.status = _CLIENT_GONE
        except Exception as error:
            to_problem(error, state, self._metrics)
            raise
        finally:
            self._held -= state.size
            self._log(scope["method"], state)

    def _sender(self, state: RequestState, send: Send) -> Send:
        """Return a `send` that adds headers, and raises ClientDisconnect if the client does not read in time."""
        start: Message | None = None

        async def send_in_time(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":  # sent with the first part of the body
                start = message
                return
            try:
                async with asyncio.timeout(self._settings.read_timeout_s):
                    if start is not None:
                        state.status = start["status"]
                        added = {**HEADERS, **dict(start["headers"]), b"x-request-id": state.id.encode()}
                        await send({**start, "headers": list(added.items())})
                        start = None
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        return send_in_time

    async def _answer(self, state: RequestState, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the head, read the body and run the endpoint; cancel that when its client goes away."""
        check_head(scope)
        self._check_host(state)
        accepted = self._settings.keys
        locked = bool(accepted) and state.endpoint not in PUBLIC
        if locked and not keys.is_valid(state.header(b"authorization"), accepted):
            detail = "an API key is needed: send the header Authorization: Bearer KEY"
            raise Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="qa-onnx"'})
        if state.endpoint == "other":
            raise Problem(404, "there is no such endpoint: /docs lists them")
        if scope["path"] == scope.get("root_path"):  # the page's links begin at a slash
            await RedirectResponse(f"{scope['root_path']}/")(scope, receive, send)
            return
        await self._read(state, receive)
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        disconnect: asyncio.Future[Message] | None = None

        def watch() -> None:
            nonlocal disconnect
            disconnect = asyncio.ensure_future(receive())
            disconnect.add_done_callback(stop)

        def stop(_: object) -> None:
            if task is not None:
                task.cancel()

        watching = loop.call_later(_UNWATCHED_S, watch)
        scope.update(app=self._app, qa_onnx=state, asgi=_ASGI)
        try:
            await self._app.router(scope, loop.create_future, send)
        except asyncio.CancelledError:
            if disconnect is None or not disconnect.done():
                raise
            disconnect.result()  # raises what `receive` did
            raise ClientDisconnect from None
        finally:
            watching.cancel()
            if disconnect is not None:
                disconnect.remove_done_callback(stop)
                disconnect.cancel()

    def _check_host(self, state: RequestState) -> None:
        """Refuse a request that a browser may have sent for a page of another site.

        Raises:
            Problem: 400 or 421, its host is not this server; 403, its browser says so.
        """
        if self._hosts.any or state.endpoint in HEALTH:
            return
        header = state.header(b"host")
        if not self._hosts.allows(header):
            host = host_of(header)
            if host is None:
                raise Problem(400, "the header Host must be this server's name or address, with or without a port")
            remedy = (
                f"use localhost or its address, or start it with --allowed-host {host} (in Python: allowed_hosts)"
            )
            raise Problem(421, f"this server does not answer for the host {host}: {remedy}")
        # What a page may not read it need not ask either. Only browsers send this header, in secure contexts.
        if state.headers.get(b"sec-fetch-site") in _OTHER_SITES and state.endpoint in self._endpoints.posted:
            raise Problem(403, "a page of another site may not ask this server: ask from this server's own page")

    async def _read(self, state: RequestState, receive: Receive) -> None:
        """Read the body, within the limits of size and time."""
        limit, seconds = body_limit(state.endpoint, self._settings), self._settings.read_timeout_s
        too_large = f"the body is larger than {limit} bytes, the limit of this server: send less"
        length = state.header(b"content-length", b"0")
        declared = int(length) if length.isdecimal() else 0  # h11 lets at most 20 digits through
        if declared > limit:
            raise Problem(413, too_large)
        self._check_room(declared, self._held + declared)
        more = True
        try:
            async with asyncio.timeout(seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    part, more = message.get("body", b""), message.get("more_body", False)
                    state.body += part
                    state.size += len(part)
                    self._held += len(part)
                    if state.size > limit:
                        raise Problem(413, too_large)
                    self._check_room(state.size, self._held)
        except TimeoutError:
            detail = f"the body did not arrive within {seconds:g} s"
            raise Problem(408, detail, headers={"Connection": "close"}) from None
        self._metrics.stage("read", monotonic() - state.arrived)

    def _check_room(self, size: int, held: int) -> None:
        """Refuse a body of so many bytes if all would hold too many; the last quarter is for small ones.

        Raises:
            Problem: 429.
        """
        if held > (self._total if size <= _SMALL_BODY else self._total * 3 // 4):
            raise problems.busy("the bodies of too many requests are in memory (--max-total-bytes)", 1)

    def _log(self, method: str, state: RequestState) -> None:
        milliseconds = state.milliseconds
        self._metrics.request(state.endpoint, state.status, milliseconds / 1000)
        fields: dict[str, Any] = {
            "request_id": state.id,
            "method": method if method in _METHODS else "other",
            "endpoint": state.endpoint,
            "code": state.status,
            "milliseconds": round(milliseconds, 3),
            "bytes": state.size,
        }
        if state.questions:
            fields["questions"] = state.questions
        logs.log_request(fields, directly=self._settings.owns_process)


def to_problem(error: BaseException, state: RequestState, metrics: Metrics) -> Problem:
    """Count an error, log it if it is the server's fault, and return its problem."""
    problem = problems.from_error(error)
    if error is problem:
        error = problem.__cause__ or problem
    metrics.error(type(problem if isinstance(error, HTTPException) else error).__name__)
    if problem.status == 500:
        fields = {"request_id": state.id, **logs.describe_error(error)}
        logs.LOGGER.error("a request failed", extra={"fields": fields})
    return problem
