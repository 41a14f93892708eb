"""The endpoints, as a FastAPI application inside middleware.py.

Left out: processes and signals (server.py).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import Body, Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer

from qa_onnx import Example, __version__
from qa_onnx.options import CALL_OPTIONS
from qa_onnx.serve import (
    bodies,
    document_files,
    document_schemas,
    inference_protocol,
    metrics,
    pages,
    questions,
    results,
    schemas,
)
from qa_onnx.serve.middleware import RequestMiddleware, RequestState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Lifespan

    from qa_onnx.serve.service import Service
    from qa_onnx.serve.settings import Model

_JSON_LINES = ("application/jsonl", "application/x-ndjson")
_PROBLEM = {"model": schemas.ProblemDetails, "description": "A problem (RFC 9457), as application/problem+json."}
_LINES = {"description": "With Accept: application/jsonl a line for each question; a failed one has an error."}


def service_app(service: Service, lifespan: Lifespan[FastAPI] | None = None) -> ASGIApp:
    """Create the application of a service.

    Args:
        service: behind the endpoints.
        lifespan: what happens when the application starts and ends; None: the service is closed at its end.
    """

    @asynccontextmanager
    async def close_at_end(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(
        title="qa-onnx",
        version=__version__,
        description="Extractive question answering: finds the part of a context that answers a question.",
        docs_url=None,  # FastAPI's pages load scripts from a content delivery network; see pages.py
        redoc_url=None,
        redirect_slashes=False,
        lifespan=close_at_end if lifespan is None else lifespan,
        responses={"default": _PROBLEM},
    )
    app.router.route_class = bodies.PlainRoute
    answers, key = _Answers(service), []
    if service.settings.keys:  # middleware.py checks them
        key = [Depends(HTTPBearer(scheme_name="key", auto_error=False))]
    answer_model = schemas.AnswerResult | schemas.AnswerResults | document_schemas.DocumentsResult
    app.post("/v1/answer", response_model=answer_model, responses={200: _LINES}, dependencies=key)(answers.answer)
    app.post("/v1/scores", response_model=schemas.Scores, dependencies=key)(answers.scores)
    app.get("/v1/bundle", response_model=schemas.BundleInfo, dependencies=key)(answers.bundle)
    app.get("/metrics", response_class=PlainTextResponse, dependencies=key)(answers.page)
    app.get("/health/live", response_model=schemas.Health)(answers.live)
    app.get("/health/ready", response_model=schemas.Health)(answers.ready)
    document_files.add_endpoints(app, service, key)
    inference_protocol.add_endpoints(app, service, key)

    @app.get("/", include_in_schema=False)
    async def root(_: Request) -> Response:
        return pages.demo()

    @app.get("/docs", include_in_schema=False)
    async def docs(_: Request) -> Response:
        return pages.docs(app.openapi())

    _describe_limits(app, service.model)
    return RequestMiddleware(app, service)


def _describe_limits(app: FastAPI, model: Model) -> None:
    """Write the limits and defaults of a model into the OpenAPI document."""
    for name in ("AskOne", "AskMany", "AskDocuments", "InferParameters"):
        fields = app.openapi()["components"]["schemas"][name]["properties"]
        fields["doc_stride"]["maximum"] = model.max_doc_stride
        fields["max_answer_length"]["maximum"] = model.options.max_length
        for option in CALL_OPTIONS:
            if "const" not in fields[option]:
                fields[option]["default"] = getattr(model.options, option)


class _Answers:
    """The endpoints of a service; the docstring of each is in the OpenAPI document."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request, body: Annotated[schemas.Ask, Body()]) -> Response:
        """Answer one question from one text or from several documents, or many questions in one request."""
        state: RequestState = request.scope["qa_onnx"]
        accept = state.header(b"accept").lower()
        media = next((media for media in _JSON_LINES if media in accept), None)
        return await questions.respond(self._service, state, body, media)

    async def scores(self, request: Request, body: schemas.AskScores) -> Response:
        """Return the start and end logit of every token of a context."""
        state: RequestState = request.scope["qa_onnx"]
        state.questions = 1
        rows = await self._service.logits(Example(body.question, body.context), state.deadline)

        def make() -> Response:
            return results.respond(results.scores(rows, body.offset_unit))

        return await self._service.results.run(make, state.deadline)

    async def bundle(self, _: Request) -> Response:
        """Describe the bundle that is served, with its measurements."""
        return results.respond(results.bundle(self._service.model))

    async def page(self, _: Request) -> Response:
        """Return metrics for Prometheus."""
        return Response(self._service.page(), headers={"Content-Type": metrics.MEDIA_TYPE})

    async def live(self, _: Request) -> Response:
        """Return 200 while the process answers; 503 where only a new one can answer questions."""
        self._service.check_alive()
        return results.respond({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        """Return 200 once the model is loaded and gives the same logits as at export, and while its runs end."""
        self._service.check_ready()
        return results.respond({"status": "ready"})
