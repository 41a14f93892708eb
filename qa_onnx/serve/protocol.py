"""A connection: uvicorn's HTTP/1.1 with limits on the head of a request, and refusals as problems.

uvicorn waits for a head as long as its client likes, and answers what is not HTTP in plain text, or with a
traceback in the log where its answer has already begun.

Left out: what can wait until the head is read: its number of headers, the body (middleware.py).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from qa_onnx.serve.problems import HEADERS, MEDIA_TYPE, Problem, new_request_id

if TYPE_CHECKING:
    import asyncio

MAX_HEAD_BYTES = 32 * 1024


class LimitedProtocol(H11Protocol):
    """The protocol of one connection.

    Args:
        head_timeout_s: seconds in which a client must send the head of a request.
        arguments: of uvicorn.
    """

    def __init__(self, *, head_timeout_s: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._head_timeout_s = head_timeout_s
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._stop_timer()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        super().data_received(data)
        self._watch_head()

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(self._head_timeout_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.conn.their_state is not h11.IDLE:
            return
        if self.conn.trailing_data[0]:
            self._refuse(Problem(408, f"the head did not arrive within {self._head_timeout_s:g} s"))
        else:
            self.transport.close()  # a connection without a request

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 has just refused; uvicorn calls this where it handles the error."""
        error = sys.exception()
        if getattr(error, "error_status_hint", 400) != 431:
            self._refuse(Problem(400, "this is not HTTP/1.1, or its framing is ambiguous: send a valid request"))
        elif b"\n" in self.conn.trailing_data[0] or not (self.cycle is None or self.cycle.response_complete):
            self._refuse(Problem(431, f"a head or chunk line is larger than {MAX_HEAD_BYTES} bytes: send less"))
        else:
            self._refuse(Problem(414, f"the request line is larger than {MAX_HEAD_BYTES} bytes: shorten the URL"))

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem unless another answer has begun, and close the connection."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE} and not self.transport.is_closing():
            request_id = new_request_id()
            content = problem.encode(request_id)
            headers = {
                **HEADERS,
                b"content-type": MEDIA_TYPE.encode(),
                b"content-length": b"%d" % len(content),
                b"connection": b"close",
                b"x-request-id": request_id.encode(),
            }
            head = h11.Response(status_code=problem.status, headers=list(headers.items()), reason=problem.title)
            parts = [self.conn.send(event) for event in (head, h11.Data(data=content), h11.EndOfMessage())]
            self.transport.write(b"".join(part for part in parts if part))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the endpoint stops, and does not try to answer as well
            self.cycle.message_event.set()
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: a request for a WebSocket is answered as any other."""
