"""The endpoints, as a FastAPI application inside middleware.py.

Left out: processes and signals (server.py).
"""

from __future__ import annotations

import dataclasses
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from qa_onnx import Example, __version__
from qa_onnx.errors import QaOnnxError, QueueFullError
from qa_onnx.serve import metrics, pages, results, schemas
from qa_onnx.serve.middleware import RequestMiddleware, RequestState, to_problem
from qa_onnx.serve.problems import Problem, field_problem
from qa_onnx.serve.settings import MAX_ANSWERS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine

    from starlette.datastructures import Headers
    from starlette.types import ASGIApp

    from qa_onnx import Options
    from qa_onnx.serve.service import Service
    from qa_onnx.serve.settings import Model

_JSON = "application/json"
_JSON_LINES = ("application/jsonl", "application/x-ndjson")
# Of `Options`, in a request.
_OPTIONS = ("n_best", "null_threshold", "max_answer_length", "doc_stride", "align_to_words")
_PROBLEM = {"model": schemas.ProblemDetails, "description": "A problem (RFC 9457), as application/problem+json."}
_LINES = {"description": "With Accept: application/jsonl a line for each question; a failed one has an error."}


def create_app(service: Service) -> ASGIApp:
    """Create the application of a service, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(
        title="qa-onnx",
        version=__version__,
        description="Extractive question answering: finds the part of a context that answers a question.",
        docs_url=None,  # FastAPI's pages load scripts from a content delivery network; see pages.py
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses={"default": _PROBLEM},
    )

    async def answer_error(request: Request, error: Exception) -> Response:
        state: RequestState = request.scope["qa_onnx"]
        return to_problem(error, state, service.metrics).response(state.id)

    for kind in (HTTPException, RequestValidationError, QaOnnxError, Exception):
        app.add_exception_handler(kind, answer_error)
    key = [Depends(HTTPBearer(scheme_name="key", auto_error=False))] if service.settings.keys else []
    health, prometheus = _state_routers(service)
    app.include_router(_model_router(service), prefix="/v1", dependencies=key)  # middleware.py checks the keys
    app.include_router(prometheus, dependencies=key)
    app.include_router(health)
    app.include_router(_page_router(app))
    _describe_limits(app, service.model)
    return RequestMiddleware(app, service)


class _JsonRequest(Request):
    """A request with a parsed body, which FastAPI asks for."""

    content: Any = None

    async def json(self) -> Any:
        """Return the parsed body."""
        return self.content


class _JsonRoute(APIRoute):
    """A route whose body pydantic parses: no NaN, no half of a surrogate pair, at most 200 levels."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            json_request = _JsonRequest(request.scope, request.receive)
            if self.body_field is not None:
                json_request.content = _parse(request.headers, await json_request.body())
            return await handle(json_request)

        return handle_json


def _parse(headers: Headers, body: bytes) -> Any:
    """Parse a body.

    Raises:
        Problem: 415, the headers say that it is not JSON; 400, it is not JSON.
    """
    media, _, parameters = headers.get("content-type", "").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if media.strip() != _JSON or charset not in {"", "utf-8", "utf8"}:
        raise Problem(415, "the body must be JSON in UTF-8: send the header Content-Type: application/json")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "the body must not be compressed: omit the header Content-Encoding")
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None


def _model_router(service: Service) -> APIRouter:
    router = APIRouter(route_class=_JsonRoute)

    @router.post("/answer", response_model=schemas.AnswerResult | schemas.AnswerResults, responses={200: _LINES})
    async def answer(request: Request, body: Annotated[schemas.Ask, Body()]) -> Response:
        """Answer one question, or many in one request."""
        state: RequestState = request.scope["qa_onnx"]
        outcomes = _answer(service, body, state)
        accept = request.headers.get("accept", "").lower()
        media = next((media for media in _JSON_LINES if media in accept), None)
        if media is not None:
            return StreamingResponse(await _lines(outcomes, state, service), media_type=media)
        objects = []
        async with aclosing(outcomes):
            async for content, error in outcomes:
                if error is not None:
                    raise error
                objects.append(content)
        return _json({"results": objects} if isinstance(body, schemas.AskMany) else objects[0])

    @router.post("/scores", response_model=schemas.Scores)
    async def scores(request: Request, body: schemas.AskScores) -> Response:
        """Return the start and end logit of every token of a context."""
        state: RequestState = request.scope["qa_onnx"]
        state.questions = 1
        deadline = state.arrived + service.settings.timeout_s
        rows = await service.logits(Example(body.question, body.context), deadline)
        return _json(results.scores(rows, body.offset_unit))

    @router.get("/bundle", response_model=schemas.BundleInfo)
    async def bundle() -> Response:
        """Describe the bundle that is served, with its measurements."""
        return _json(results.bundle(service.model))

    return router


def _state_routers(service: Service) -> tuple[APIRouter, APIRouter]:
    """Return the routers of health, which is public, and of metrics."""
    health, prometheus = APIRouter(prefix="/health"), APIRouter()

    @health.get("/live", response_model=schemas.Health)
    async def live() -> Response:
        """Return 200 while the process answers."""
        return _json({"status": "alive"})

    @health.get("/ready", response_model=schemas.Health)
    async def ready() -> Response:
        """Return 200 once the model is loaded and gives the same logits as at export."""
        service.reader  # noqa: B018 - raises until then
        return _json({"status": "ready"})

    @prometheus.get("/metrics", response_class=PlainTextResponse)
    async def page() -> Response:
        """Return metrics for Prometheus."""
        return Response(service.page(), headers={"Content-Type": metrics.MEDIA_TYPE})

    return health, prometheus


def _page_router(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def root() -> Response:
        return pages.demo()

    @router.get("/docs")
    async def docs() -> Response:
        return pages.docs(app.openapi())

    return router


def _describe_limits(app: FastAPI, model: Model) -> None:
    """Write the limits and defaults of a model into the OpenAPI document."""
    for name in ("AskOne", "AskMany"):
        fields = app.openapi()["components"]["schemas"][name]["properties"]
        fields["doc_stride"]["maximum"] = model.max_doc_stride
        fields["max_answer_length"]["maximum"] = model.options.max_length
        for option in _OPTIONS:
            fields[option]["default"] = getattr(model.options, option)


async def _answer(
    service: Service, body: schemas.AskOne | schemas.AskMany, state: RequestState
) -> AsyncGenerator[tuple[dict[str, Any], BaseException | None], None]:
    """Answer the questions of a body.

    Yields:
        The JSON object of each, in their order, and None or why it failed.
    """
    items = body.examples if isinstance(body, schemas.AskMany) else [body]
    examples = [Example(item.question, item.context) for item in items]
    options = _options(body, service.model, len(items))
    state.questions = len(items)
    asking = service.ask_each(examples, options, state.arrived + service.settings.timeout_s)
    async with aclosing(asking):
        for item, example in zip(items, examples, strict=True):
            content: dict[str, Any] = {"id": item.id} if isinstance(item, schemas.AskExample) else {}
            prediction = await anext(asking)
            if isinstance(prediction, BaseException):
                yield content, prediction
                continue
            answered = bool(service.reader.choose(prediction, options=options))
            content |= results.result(example, prediction, body.offset_unit, answered=answered)
            yield content | {"milliseconds": round(state.milliseconds, 3), "offset_unit": body.offset_unit}, None


async def _lines(
    outcomes: AsyncGenerator[tuple[dict[str, Any], BaseException | None], None],
    state: RequestState,
    service: Service,
) -> AsyncIterator[bytes]:
    """Write a JSON line for each outcome of `_answer`, as soon as it comes.

    Raises:
        QueueFullError: the server did not accept the first question, and so refuses the request.
    """
    first = await anext(outcomes)
    if isinstance(first[1], QueueFullError):
        await outcomes.aclose()
        raise first[1]

    def line(content: dict[str, Any], error: BaseException | None) -> bytes:
        if error is not None:
            content |= {"error": to_problem(error, state, service.metrics).content(state.id)}
        return results.encode(content) + b"\n"

    async def lines() -> AsyncIterator[bytes]:
        async with aclosing(outcomes):
            yield line(*first)
            async for outcome in outcomes:
                yield line(*outcome)

    return lines()


def _options(body: schemas.AskOne | schemas.AskMany, model: Model, count: int) -> Options:
    """Return the options of a request: the server's own with its changes.

    Raises:
        Problem: an option is out of the model's range, or there are too many answers.
    """
    for name, limit in (("doc_stride", model.max_doc_stride), ("max_answer_length", model.options.max_length)):
        if name in body.model_fields_set and getattr(body, name) > limit:
            raise field_problem(f"#/{name}", f"Input should be less than or equal to {limit}")
    changes = {name: getattr(body, name) for name in _OPTIONS if name in body.model_fields_set}
    options = dataclasses.replace(model.options, **changes)
    if count * options.n_best > MAX_ANSWERS:
        detail = f"{count} examples times n_best {options.n_best} is more than {MAX_ANSWERS}: reduce one of them"
        raise field_problem("#/n_best", detail)
    return options


def _json(content: Any) -> Response:
    return Response(results.encode(content), media_type=_JSON)
