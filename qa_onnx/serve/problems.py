"""How requests are refused: problem details (RFC 9457), application/problem+json.

A detail says what is wrong, the limit and the remedy; it never repeats a question or a context.
"""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ClosedError, InputError, QaOnnxError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import ValidationError

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20
_MOST_NAME = 100  # characters of a field's name, which may be anything


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A request is refused, or failed.

    Args:
        status: of the response.
        detail: what is wrong, the limit, the remedy.
        errors: the fields at fault, each with its JSON `pointer` into the body and a `detail`.
        headers: of the response.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = {} if headers is None else dict(headers)

    def content(self, request_id: str) -> dict[str, Any]:
        """The problem as a JSON object."""
        content: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.errors:
            content["errors"] = [dict(error) for error in self.errors]
        return content

    def body(self, request_id: str) -> bytes:
        """The problem as the body of a response."""
        return json.dumps(self.content(request_id)).encode()


def field_problem(pointer: str, detail: str) -> Problem:
    """A problem with one field of the body.

    Args:
        pointer: to the field, "#/question".
        detail: what is wrong with it.
    """
    name = pointer.removeprefix("#/").replace("/", ".")
    return Problem(422, f"{name}: {detail}", errors=[{"pointer": pointer, "detail": detail}])


def of_validation(error: ValidationError) -> Problem:
    """The problem of a body that is not JSON (400), or not what the endpoint reads (422)."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return Problem(400, f"the body is not JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}")
    errors = []
    for item in found[:_MOST_ERRORS]:
        # The union of one and many puts the name of its choice first.
        steps = [str(step)[:_MOST_NAME] for step in item["loc"] if step not in {"one", "many"}]
        escaped = [step.replace("~", "~0").replace("/", "~1") for step in steps]
        errors.append({"pointer": "#" + "".join(f"/{step}" for step in escaped), "detail": item["msg"]})
    first = errors[0]
    name = first["pointer"].removeprefix("#").removeprefix("/").replace("/", ".") or "the body"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Problem(422, f"{name}: {first['detail']}{more}", errors=errors)


def of_error(error: Exception) -> Problem:
    """The problem that an error of the reader amounts to."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, QueueFullError):
        return busy("too many questions are waiting", error.retry_after_s)
    if isinstance(error, ClosedError):
        return stopping()
    if isinstance(error, TimeoutError):
        return Problem(504, "the answer took longer than the server's --timeout-s allows: send less at once")
    if isinstance(error, InputError):
        return Problem(422, str(error))
    what = "model failed on this text" if isinstance(error, QaOnnxError) else "server failed"
    return Problem(500, f"the {what}; the server's log says more, under the request id")


def busy(reason: str, retry_after_s: float) -> Problem:
    """The server has too much to do."""
    seconds = max(1, math.ceil(retry_after_s))
    return Problem(429, f"{reason}; try again in {seconds} s", headers=_after(seconds))


def starting() -> Problem:
    """The server has not loaded its model yet."""
    return Problem(503, "the server is starting; try again in 1 s", headers=_after(1))


def stopping() -> Problem:
    """The server takes nothing more."""
    headers = {**_after(1), "Connection": "close"}
    return Problem(503, "the server is stopping; ask another one, or try again later", headers=headers)


def _after(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
