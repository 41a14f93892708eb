"""What a request must keep to before it reaches its endpoint: API key, size and time of its body.

And afterwards: a client that goes away takes its questions along. The time for heads, and for taking answers, is
that of a connection (protocol.py).
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from qa_onnx.serve import keys, problems
from qa_onnx.serve.middleware import ClientGoneError, header
from qa_onnx.serve.problems import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from qa_onnx.serve.middleware import RequestState
    from qa_onnx.serve.service import Service

_WITHOUT_KEY = frozenset({"/", "/docs", "/openapi.json", "/health/live", "/health/ready"})
_ALWAYS = frozenset({"/health/live", "/health/ready", "/metrics"})  # while stopping too
_MOST_BODIES = 64  # of the largest size, that are held at a time


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
        request: RequestState = scope["qa_onnx"]
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

    def _check_key(self, scope: Scope, request: RequestState) -> None:
        if not self._settings.keys or request.endpoint in _WITHOUT_KEY:
            return
        if not keys.accepted(header(scope, b"authorization"), self._settings.keys):
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
        length = header(scope, b"content-length")
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
        request: RequestState = scope["qa_onnx"]
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
