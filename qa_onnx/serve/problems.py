"""Refusals and failures as problem details (RFC 9457), application/problem+json; under /v2 as its protocol says.

A detail says what is wrong, the limit and the remedy; it never repeats a question or a context.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from qa_onnx.errors import ClosedError, InputError, MissingExtraError, QaOnnxError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import ValidationError

MEDIA_TYPE = "application/problem+json"
# Of every response.
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}
_MAX_DETAIL = 500  # characters
_MAX_ERRORS = 20
_MAX_NAME = 100  # characters of a field's name, which may be anything


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 - RFC 9457's name for it
    """A request that is refused, or failed.

    Attributes:
        status: of the response.
        detail: what is wrong, the limit, the remedy.
        errors: the wrong fields, each with its JSON `pointer` into the body and a `detail`.
        headers: of the response.
    """

    status: int
    detail: str
    errors: Sequence[Mapping[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name of the status."""
        return HTTPStatus(self.status).phrase

    def content(self, request_id: str) -> dict[str, Any]:
        """Return the problem as a JSON object."""
        detail = self.detail
        content: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": detail if len(detail) <= _MAX_DETAIL else f"{detail[: _MAX_DETAIL - 3]}...",
            "request_id": request_id,
        }
        if self.errors:
            content["errors"] = list(self.errors)
        return content

    def encode(self, request_id: str) -> bytes:
        """Return the problem as JSON in ASCII: a field's name may hold what controls a terminal."""
        return json.dumps(self.content(request_id), separators=(",", ":")).encode()

    def response(self, request_id: str, *, protocol: bool = False) -> Response:
        """Return the problem as a response.

        Args:
            request_id: of the request.
            protocol: in the form of the Open Inference Protocol, whose status for a wrong field is 400.
        """
        if not protocol:
            return Response(self.encode(request_id), self.status, self.headers, MEDIA_TYPE)
        content = json.dumps({"error": self.content(request_id)["detail"]}).encode()
        return Response(content, 400 if self.status == 422 else self.status, self.headers, "application/json")


def new_request_id() -> str:
    """Return an id for a request that has none."""
    return f"{random.getrandbits(128):032x}"


def field_problem(pointer: str, detail: str, *, more: Sequence[Mapping[str, str]] = (), count: int = 1) -> Problem:
    """Return the problem of a wrong field of the body.

    Args:
        pointer: to the field, "#/question".
        detail: what is wrong with it.
        more: other wrong fields.
        count: how many fields are wrong.
    """
    name = pointer.removeprefix("#").removeprefix("/").replace("/", ".") or "the body"
    others = f" (and {count - 1} more)" if count > 1 else ""
    return Problem(422, f"{name}: {detail}{others}", errors=[{"pointer": pointer, "detail": detail}, *more])


def from_error(error: BaseException) -> Problem:  # noqa: PLR0911 - a table of errors
    """Return the problem that an error amounts to."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):  # from the router of Starlette
        return Problem(405, "the endpoint has other methods: /docs lists them", headers=error.headers or {})
    if isinstance(error, QueueFullError):
        return busy("too many questions are waiting", error.retry_after_s)
    if isinstance(error, ClosedError):
        return unavailable("stopping")
    if isinstance(error, TimeoutError):
        return Problem(504, "the answer took longer than the server's --timeout-s: send less at once")
    if isinstance(error, InputError):
        return Problem(422, str(error))
    if isinstance(error, MissingExtraError):
        return Problem(501, f"this server cannot do that yet: {error}")
    part = "model failed on this text" if isinstance(error, QaOnnxError) else "server failed"
    return Problem(500, f"the {part}: the server's log has more under this request_id")


def from_validation(error: ValidationError) -> Problem:
    """Return the problem of a body that has wrong fields."""
    errors = []
    for item in error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_ERRORS]:
        # The location starts with the choice in the union of one and many.
        steps = [str(step)[:_MAX_NAME] for step in item["loc"] if step not in {"one", "many", "several"}]
        pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
        errors.append({"pointer": f"#{pointer}", "detail": item["msg"]})
    first, *more = errors
    return field_problem(**first, more=more, count=error.error_count())


def busy(reason: str, retry_after_s: float) -> Problem:
    """Return the 429 of a server that has too much to do."""
    seconds = max(1, math.ceil(retry_after_s))
    return Problem(429, f"{reason}: try again in {seconds} s", headers={"Retry-After": str(seconds)})


def unavailable(state: str) -> Problem:
    """Return the 503 of a server that is starting or stopping."""
    return Problem(503, f"the server is {state}: try again in 1 s", headers={"Retry-After": "1"})
