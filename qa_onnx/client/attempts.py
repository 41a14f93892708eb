"""One request to a server: how long it may take in all, and when it is sent again.

A question may be sent twice: the server keeps nothing of it. So what a busy or starting server, or a broken
connection, did not answer is sent again, after as long as the server asks for, until there is no time left.

Left out: sending (sync_client.py, async_client.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import uniform
from time import monotonic
from typing import TYPE_CHECKING

import httpx

from qa_onnx.client.messages import problem
from qa_onnx.errors import DeadlineError, InputError, ServerError, quoted
from qa_onnx.options import check_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qa_onnx.client.messages import Exchange, T

_AGAIN = frozenset({429, 502, 503})  # too busy; a proxy without a server behind it; starting or stopping
_FIRST_S, _LONGEST_S = 0.1, 5.0  # to wait where the server does not say how long
_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, as a whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTarget:
    """A server, and how patient a client is with it.

    Attributes:
        url: of the server, with the path below which a proxy shows it.
        api_key: that the server wants, or None.
        timeout_s: seconds for a request with all of its attempts.
        retries: attempts after the first one, at most.

    Raises:
        InputError: one of them is not usable.
    """

    url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    retries: int

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except (httpx.InvalidURL, TypeError):
            url = httpx.URL("")
        if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment or url.userinfo:
            raise InputError(f"url is {quoted(self.url)}; it must be one such as http://127.0.0.1:8000")
        object.__setattr__(self, "url", self.url.rstrip("/"))
        if self.api_key is not None and not (isinstance(self.api_key, str) and _KEY.fullmatch(self.api_key)):
            raise InputError("api_key must be a str of ASCII characters without blanks")  # and is not shown
        check_bounds("timeout_s", self.timeout_s)
        check_bounds("retries", self.retries)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each request."""
        key = {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}
        return {"Accept": "application/json", "Content-Type": "application/json", **key}

    def attempts(self, request: Exchange[T], timeout_s: float | None) -> Attempts:
        """Begin a request; `timeout_s` of None: that of the target."""
        if timeout_s is None:
            timeout_s = self.timeout_s
        check_bounds("timeout_s", timeout_s)
        return Attempts(f"{self.url}{request.path}", timeout_s, self.retries)


class Attempts:
    """The attempts of one request.

    Args:
        address: of the endpoint.
        timeout_s: seconds for all of them.
        retries: attempts after the first one, at most.
    """

    def __init__(self, address: str, timeout_s: float, retries: int) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._deadline = monotonic() + timeout_s
        self._retries, self._done = retries, 0

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlineError: there are none.
        """
        left = self._deadline - monotonic()
        if left <= 0:
            raise self.too_late()
        return left

    def too_late(self) -> DeadlineError:
        """Return the error of a request that had no answer in time."""
        return DeadlineError(
            f"no answer from {self.address} within {self._timeout_s:g} s",
            remedy="send less at once, or allow more by timeout_s",
        )

    def after(self, outcome: Reply | httpx.RequestError) -> Reply | float:
        """Return the reply if it is the answer, else the seconds to wait before the request is sent again.

        Raises:
            ServerError: it is not sent again: the server refused it, or no attempt or no time is left.
            DeadlineError: the time was over before there was a reply.
        """
        if isinstance(outcome, Reply) and outcome.status == 200:
            return outcome
        if isinstance(outcome, httpx.TimeoutException):
            raise self.too_late() from outcome
        if isinstance(outcome, Reply):
            error = problem(outcome.status, outcome.headers, outcome.content, self.address)
            error.retry_after_s = retry_after(outcome.headers.get("retry-after", ""))
        else:
            reason = f"{type(outcome).__name__} {outcome}".strip()
            error = ServerError(f"cannot reach {self.address}: {reason}", detail=reason)
            error.__cause__ = outcome
        again = error.status in _AGAIN or isinstance(outcome, httpx.TransportError)
        backoff = min(_LONGEST_S, _FIRST_S * 2.0**self._done) * uniform(0.5, 1.0)
        # Those that were told the same time do not all come back at once.
        wait = backoff if error.retry_after_s is None else error.retry_after_s + min(backoff, 0.5)
        self._done += 1
        if not again or self._done > self._retries or wait >= self._deadline - monotonic():
            raise error
        return wait

    def read(self, request: Exchange[T], reply: Reply) -> T:
        """Return the result that a reply holds.

        Raises:
            ServerError: it is not a reply of `qa-onnx serve`.
        """
        try:
            return request.read(reply.content)
        except ValueError as error:
            detail = f"the reply is not one of qa-onnx serve: {error}"
            raise ServerError(f"{self.address}: {detail}", status=reply.status, detail=detail) from error


def retry_after(value: str) -> float | None:
    """Return the seconds in a header Retry-After, which has them or a date (RFC 9110); None: it has neither."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, float((when - datetime.now(UTC)).total_seconds()))
