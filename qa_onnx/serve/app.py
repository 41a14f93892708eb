"""The endpoints, as a FastAPI application inside middleware.py and limits.py.

`create_app` gives an ASGI application; its lifespan loads the model. Left out: processes and signals (server.py).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from qa_onnx import Example, __version__
from qa_onnx.errors import QaOnnxError
from qa_onnx.serve import accept, metrics, openapi, pages, problems, results, schemas
from qa_onnx.serve.asked import Asked
from qa_onnx.serve.limits import Limits
from qa_onnx.serve.middleware import Requests, failed
from qa_onnx.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from qa_onnx.serve import middleware
    from qa_onnx.serve.service import Service

_Body = TypeVar("_Body")


def create_app(service: Service) -> ASGIApp:
    """The application of a service, which it starts and closes with its lifespan."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.close()

    app = FastAPI(
        title="qa-onnx",
        version=__version__,
        description=openapi.DESCRIPTION,
        docs_url=None,  # the stock pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )

    async def answer_error(request: Request, error: Exception) -> Response:
        known = _http_problem(error) if isinstance(error, HTTPException) else error
        problem = failed(known, _known(request), service.metrics)
        content = problem.body(_known(request).id)
        return Response(content, problem.status, problem.headers, problems.MEDIA_TYPE)

    for kind in (Problem, QaOnnxError, HTTPException, Exception):
        app.add_exception_handler(kind, answer_error)
    _add_model(app, service)
    _add_state(app, service)
    _add_pages(app, service)
    return Requests(Limits(app, service), service)


def _add_model(app: FastAPI, service: Service) -> None:
    @app.post("/v1/answer", **openapi.ANSWER)
    async def answer(request: Request) -> Response:
        """Answer one question, or many in one request."""
        media = accept.choose(request.headers.get("accept", ""), (accept.JSON, *accept.JSON_LINES))
        asked = Asked(service, _read(request, schemas.read_ask), _known(request))
        if media != accept.JSON:
            return StreamingResponse(await asked.lines(), media_type=media)
        return _json(await (asked.many() if asked.several else asked.one()))

    @app.post("/v1/scores", **openapi.SCORES)
    async def scores(request: Request) -> Response:
        """Give the start and end logit of every token of a context."""
        accept.choose(request.headers.get("accept", ""), (accept.JSON,))
        ask = _read(request, schemas.read_scores)
        known = _known(request)
        known.questions = 1
        rows = await service.logits(Example(ask.question, ask.context), service.deadline(known.arrived))
        return _json(results.scores(rows, ask.offset_unit))

    @app.get("/v1/bundle", **openapi.BUNDLE)
    async def bundle(request: Request) -> Response:
        """Say what is served, and what was measured of it."""
        accept.choose(request.headers.get("accept", ""), (accept.JSON,))
        return _json(results.bundle(service.model))


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", **openapi.LIVE)
    async def live() -> Response:
        """Whether the process answers at all."""
        return _json({"status": "alive"})

    @app.get("/health/ready", **openapi.READY)
    async def ready() -> Response:
        """Whether it takes questions: its model gives here what it gave at export."""
        if service.stopping:
            raise problems.stopping()
        if not service.ready:
            raise problems.starting()
        return _json({"status": "ready"})

    @app.get("/metrics", **openapi.METRICS)
    async def prometheus() -> Response:
        """Metrics for Prometheus."""
        return Response(service.metrics.page(), headers={"Content-Type": metrics.MEDIA_TYPE})


def _add_pages(app: FastAPI, service: Service) -> None:
    document = openapi.document(app, service)
    people, docs = pages.people(), pages.docs(document)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(people.body, headers=people.headers)

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> Response:
        return Response(docs.body, headers=docs.headers)

    @app.get("/openapi.json", include_in_schema=False)
    async def machine_readable() -> Response:
        return _json(document)


def _known(request: Request) -> middleware.RequestState:
    known: middleware.RequestState = request.scope["qa_onnx"]
    return known


def _read(request: Request, adapter: TypeAdapter[_Body]) -> _Body:
    """The body of a request.

    Raises:
        Problem: 415, it is not JSON by its header; 400, nor by itself; 422, it is not what the endpoint reads.
    """
    media, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if media.strip() != accept.JSON or charset not in {"", "utf-8", "utf8"}:
        raise Problem(415, "the body must be JSON in UTF-8: send the header Content-Type: application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "the body must not be compressed: leave out the header Content-Encoding")
    try:
        return adapter.validate_json(_known(request).body)
    except ValidationError as error:
        raise problems.of_validation(error) from None


def _http_problem(error: HTTPException) -> Problem:
    """What Starlette's router refuses, as a problem."""
    detail = {404: "there is no such endpoint: /docs lists them", 405: "this endpoint has other methods"}
    said = detail.get(error.status_code, error.detail)
    return Problem(error.status_code, said, headers=error.headers)


def _json(content: Any) -> Response:
    return Response(results.encode(content), media_type=accept.JSON)
