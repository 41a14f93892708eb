"""A connection: what a slow client may hold up, on top of uvicorn's HTTP/1.1.

uvicorn waits without end for a head that comes byte by byte, and for a client that does not take its answer; here
each has a time limit. That of a body is in limits.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from qa_onnx.serve.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    import asyncio


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 with limits on the time for heads and for taking answers; make one with `limited`."""

    read_timeout_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock of the first head starts."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """A whole head stops the clock; a part of one does not set it back."""
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """The clock of the next head starts."""
        super().on_response_complete()
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """No clock outlives its connection."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.read_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; there is no request yet that could have an id."""
        body = Problem(400, f"{msg.rstrip('.')}: this is no HTTP/1.1, or its head is too long").body("")
        headers = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch_head(self) -> None:
        """Run the clock while a head, or the rest of a body that was refused, is awaited."""
        theirs = self.conn.their_state
        refused = theirs is h11.SEND_BODY and self.conn.our_state in {h11.DONE, h11.MUST_CLOSE}
        if theirs is h11.IDLE or refused:
            if self._head_timer is None and not self.transport.is_closing():
                self._head_timer = self.loop.call_later(self.read_timeout_s, self.transport.abort)
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def limited(read_timeout_s: float) -> type[LimitedProtocol]:
    """The protocol with its limit, as a class, which is what uvicorn takes."""
    return type("LimitedProtocol", (LimitedProtocol,), {"read_timeout_s": read_timeout_s})
