"""The OpenAPI document: FastAPI's, with the bodies, refusals and limits that it does not know."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import Response
from pydantic.json_schema import models_json_schema

from qa_onnx.serve import accept, schemas
from qa_onnx.serve.problems import MEDIA_TYPE as PROBLEM

if TYPE_CHECKING:
    from fastapi import FastAPI

    from qa_onnx.serve.service import Service

DESCRIPTION = (
    "Extractive question answering: a question and a context in, the piece of the context that answers out."
)

_REF = "#/components/schemas/{model}"
_READ = (schemas.AskOne, schemas.AskMany, schemas.AskScores)
_WRITTEN = (
    schemas.AnswerResult,
    schemas.AnswerResults,
    schemas.FailedExample,
    schemas.Scores,
    schemas.BundleInfo,
    schemas.Health,
    schemas.ProblemDetails,
)
_WITH_BODY = (400, 406, 408, 413, 415, 422, 429, 500, 503, 504)


def _ref(model: type) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _any_of(*models: type) -> dict[str, Any]:
    return {"oneOf": [_ref(model) for model in models]}


def _endpoint(
    content: dict[str, Any], problems: tuple[int, ...], *, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Arguments of a FastAPI route: its responses, and its body, which FastAPI does not read itself."""
    responses: dict[int | str, dict[str, Any]] = {200: {"description": "OK", "content": content}}
    for status in problems:
        responses[status] = {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM: {"schema": _ref(schemas.ProblemDetails)}},
        }
        if status in {429, 503}:
            seconds = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
            responses[status]["headers"] = {"Retry-After": seconds}
    extra = {} if body is None else {"requestBody": {"required": True, "content": {accept.JSON: {"schema": body}}}}
    return {"responses": responses, "openapi_extra": extra, "response_class": Response}


def _json(model: dict[str, Any]) -> dict[str, Any]:
    return {accept.JSON: {"schema": model}}


_LINES = {"schema": {"type": "string", "description": "A Result or a FailedExample a line, in the order asked."}}

ANSWER = _endpoint(
    {**_json(_any_of(schemas.AnswerResult, schemas.AnswerResults)), **dict.fromkeys(accept.JSON_LINES, _LINES)},
    _WITH_BODY,
    body=_any_of(schemas.AskOne, schemas.AskMany),
)
SCORES = _endpoint(_json(_ref(schemas.Scores)), _WITH_BODY, body=_ref(schemas.AskScores))
BUNDLE = _endpoint(_json(_ref(schemas.BundleInfo)), (406, 503))
LIVE = _endpoint(_json(_ref(schemas.Health)), ())
READY = _endpoint(_json(_ref(schemas.Health)), (503,))
METRICS = _endpoint({"text/plain": {"schema": {"type": "string"}}}, ())


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """The document, with the limits of the service's model and settings."""
    content = app.openapi()
    modes = [*((model, "validation") for model in _READ), *((model, "serialization") for model in _WRITTEN)]
    _, models = models_json_schema(modes, ref_template=_REF)  # type: ignore[arg-type]
    components = content.setdefault("components", {})
    components["schemas"] = models["$defs"]
    model = service.model
    for name in ("AskOne", "AskMany"):
        fields = models["$defs"][name]["properties"]
        fields["doc_stride"]["maximum"] = model.max_doc_stride
        fields["max_answer_length"]["maximum"] = model.max_length
        for option in ("n_best", "null_threshold", "max_answer_length", "doc_stride"):
            fields[option]["default"] = getattr(model.options, option)
    if service.settings.keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, methods in content["paths"].items():
            if path.startswith("/v1/") or path == "/metrics":
                for operation in methods.values():
                    operation["security"] = [{"key": []}]
                    operation["responses"]["401"] = {
                        "description": "Unauthorized",
                        "content": {PROBLEM: {"schema": _ref(schemas.ProblemDetails)}},
                    }
    return content
