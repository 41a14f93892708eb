"""The body of a request -> its JSON, checked, for an endpoint, and the options that it asks for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, get_type_hints

from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from qa_onnx.options import CALL_OPTIONS
from qa_onnx.serve import problems
from qa_onnx.serve.problems import Problem, field_problem
from qa_onnx.serve.settings import MAX_ANSWERS, MAX_EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Request, Response

    from qa_onnx import Options
    from qa_onnx.serve.middleware import RequestState
    from qa_onnx.serve.schemas import AnswerOptions
    from qa_onnx.serve.settings import Model

JSON = "application/json"
_NOT_JSON = "the body must be JSON in UTF-8: send the header Content-Type: application/json"
_MAX_FIELDS = 4 * MAX_EXAMPLES  # of a body; an example has three


class PlainRoute(APIRoute):
    """A route that calls its endpoint with the request and its body, if it has one.

    FastAPI makes the OpenAPI document from the signature. Its own way to call an endpoint is not used: solving
    dependencies and checking responses, which are not needed here, takes a good part of a short request.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        if self.body_field is None:
            return self.endpoint
        endpoint, adapter = self.endpoint, TypeAdapter(get_type_hints(self.endpoint, include_extras=True)["body"])

        async def handle(request: Request) -> Response:
            response: Response = await endpoint(request, self.parse(request.scope["qa_onnx"], adapter))
            return response

        return handle

    def parse(self, state: RequestState, adapter: TypeAdapter[Any]) -> Any:
        """Parse a body that is JSON, and let go of its bytes.

        Raises:
            Problem: 415, the headers say that it is not JSON; 400, it is not JSON; 422, a field is wrong.
        """
        check_media(state, (JSON,), _NOT_JSON)
        content = decode(state.body)
        state.body = bytearray()  # the texts are held from here on
        return validate(content, adapter)


def check_media(state: RequestState, accepted: tuple[str, ...], detail: str) -> None:
    """Refuse a body of another type, or in another encoding than UTF-8.

    Args:
        state: of the request.
        accepted: media types; "" for none.
        detail: of the problem.

    Raises:
        Problem: 415.
    """
    media, _, parameters = state.header(b"content-type").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if media.strip() not in accepted or charset not in {"", "utf-8", "utf8"}:
        raise Problem(415, detail)
    if state.header(b"content-encoding", b"identity").lower() != "identity":
        raise Problem(415, "the body must not be compressed: omit the header Content-Encoding")


def decode(data: bytes | bytearray) -> Any:
    """Decode JSON: no NaN, no half of a surrogate pair, at most 200 levels.

    Raises:
        Problem: 400.
    """
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None


def validate(content: Any, adapter: TypeAdapter[Any]) -> Any:
    """Check the fields of a body.

    Raises:
        Problem: 422.
    """
    if _count_fields(content) > _MAX_FIELDS:  # each unknown one makes an error, which takes time
        raise field_problem("#", f"Input should have at most {_MAX_FIELDS} fields, those of its parts included")
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        raise problems.from_validation(error) from None


def _count_fields(content: Any) -> int:
    """Return the number of fields of a body, and of the objects in its fields and their arrays."""
    if not isinstance(content, dict):
        return 0
    objects = [content]
    for value in content.values():
        parts = value[:MAX_EXAMPLES] if isinstance(value, list) else [value]
        objects += [part for part in parts if isinstance(part, dict)]
    return sum(map(len, objects))


def options_of(body: AnswerOptions, model: Model, count: int, *, n_best: int | None = None) -> Options:
    """Return the options of a request: the server's own with its changes.

    Args:
        body: of the request.
        model: that answers.
        count: examples of the request.
        n_best: in place of the server's own; None: that.

    Raises:
        Problem: an option is out of the model's range, or there are too many answers.
    """
    for name, limit in (("doc_stride", model.max_doc_stride), ("max_answer_length", model.options.max_length)):
        if name in body.model_fields_set and getattr(body, name) > limit:
            raise field_problem(f"#/{name}", f"Input should be less than or equal to {limit}")
    changes = {name: getattr(body, name) for name in CALL_OPTIONS if name in body.model_fields_set}
    if n_best is not None:
        changes["n_best"] = n_best
    changed = any(getattr(model.options, name) != value for name, value in changes.items())
    options = dataclasses.replace(model.options, **changes) if changed else model.options
    if count * options.n_best > MAX_ANSWERS:
        detail = f"{count} examples times n_best {options.n_best} is more than {MAX_ANSWERS}: reduce one of them"
        raise field_problem("#/n_best", detail)
    return options
