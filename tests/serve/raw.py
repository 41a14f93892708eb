"""HTTP as bytes, and the check of what a server answers to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

GOOD = json.dumps({"question": "Where?", "context": "Here."}).encode()
POST = b"POST /v1/answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def get(target: bytes, *headers: bytes, version: bytes = b"HTTP/1.1", method: bytes = b"GET") -> bytes:
    lines = [b"%s %s %s" % (method, target, version), b"Host: localhost", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    return POST + b"".join(line + b"\r\n" for line in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def until(connection: socket.socket, end: bytes) -> bytes:
    """Receive until something has come."""
    answer = b""
    while end not in answer:
        part = connection.recv(65536)
        assert part, answer
        answer += part
    return answer


def check_refused(answer: bytes, status: int) -> None:
    """Check that an answer is one short problem with this status.

    Where the server refuses a request before it has read it all, the connection's end may overtake the answer.
    """
    if not answer and status in {0, 413, 414, 431}:
        return
    head, _, rest = answer.partition(b"\r\n\r\n")
    found = int(head.split(b" ", 2)[1])
    assert found == status or (status == 0 and 400 <= found < 500), answer
    headers = head.lower().split(b"\r\n")
    assert b"x-content-type-options: nosniff" in headers
    assert b"content-type: application/problem+json" in headers
    (length,) = [int(line.split()[1]) for line in headers if line.startswith(b"content-length:")]
    assert all(ord(" ") <= byte < 127 for byte in rest[:length])
    problem = json.loads(rest[:length])
    texts = [problem["detail"], *[error["detail"] for error in problem.get("errors", [])]]
    assert all(0 < len(text) <= 500 for text in texts)
