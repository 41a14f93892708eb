"""Limits of a request's head, once it is read: the URL, the number of headers, and both together.

Left out: how long it may take to arrive, and how long its lines may be (protocol.py); what its headers say
(hosts.py, keys.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.serve.problems import Problem
from qa_onnx.serve.protocol import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from starlette.types import Scope

_MAX_TARGET = 8 * 1024  # bytes of a URL
_MAX_HEADERS = 100


def check_head(scope: Scope) -> None:
    """Refuse a head of another version, or that is too large.

    Raises:
        Problem: 400, 414 or 431.
    """
    if scope["http_version"] not in {"1.0", "1.1", "2", "3"}:  # h11 reads 2.0 and others as if they were 1.1
        raise Problem(400, "this is not HTTP/1.1: send a valid request")
    headers = scope["headers"]
    target = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    if target > _MAX_TARGET:
        raise Problem(414, f"the URL is longer than {_MAX_TARGET} bytes: shorten it")
    if len(headers) > _MAX_HEADERS:
        raise Problem(431, f"the request has {len(headers)} headers: send {_MAX_HEADERS} at most")
    if target + sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES:
        raise Problem(431, f"the head is larger than {MAX_HEAD_BYTES} bytes: send fewer headers")
