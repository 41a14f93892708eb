"""The endpoints of the Open Inference Protocol, version 2, which clients of KServe and Triton speak.

They ask the same service as /v1/answer: texts go in, and there is one model, the bundle, in one version.

Left out: gRPC, loading and unloading of models, sequences, statistics and shared memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Body, Request, Response

from qa_onnx import Answer, Example, __version__
from qa_onnx.serve import bodies, results
from qa_onnx.serve import inference_schemas as schemas
from qa_onnx.serve.endpoints import MODEL, PROTOCOL, VERSION
from qa_onnx.serve.inference_schemas import NAMES, OUTPUTS, InferRequest
from qa_onnx.serve.problems import Problem
from qa_onnx.serve.tensors import InferRoute, respond

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI

    from qa_onnx import Prediction
    from qa_onnx.serve.middleware import RequestState
    from qa_onnx.serve.results import OffsetUnit
    from qa_onnx.serve.service import Service

_MODEL_VERSION = "1"  # a bundle has one; the protocol's clients expect a number
_ERROR = {"model": schemas.ProtocolError, "description": "An error."}


def add_endpoints(app: FastAPI, service: Service, key: Sequence[Any]) -> None:
    """Add the endpoints to an application.

    Args:
        app: of the server.
        service: that answers.
        key: dependencies of what needs an API key.
    """
    inference, add = _Inference(service), app.router.add_api_route
    common: dict[str, Any] = {"responses": {"default": _ERROR}, "methods": ["GET"]}
    add(f"{PROTOCOL}/health/live", inference.live, response_model=schemas.Live, **common)
    add(f"{PROTOCOL}/health/ready", inference.ready, response_model=schemas.Ready, **common)
    common["dependencies"] = key
    add(PROTOCOL, inference.server, response_model=schemas.ServerMetadata, **common)
    for version in ("", VERSION):
        name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        names = [name, name | {"name": "version"}] if version else [name]
        common["openapi_extra"] = {"parameters": names}
        path = f"{MODEL}{version}"
        add(path, inference.model, response_model=schemas.ModelMetadata, **common)
        add(f"{path}/ready", inference.model_ready, response_model=schemas.ModelReady, **common)
        posted = common | {"methods": ["POST"], "route_class_override": InferRoute}
        add(f"{path}/infer", inference.infer, response_model=schemas.InferResponse, **posted)


class _Inference:
    """The endpoints of a service; the docstring of each is in the OpenAPI document."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._name = service.model.bundle.manifest.source.name

    async def live(self, _: Request) -> Response:
        """Return 200 while the process answers, as /health/live."""
        self._service.check_alive()
        return results.respond({"live": True})

    async def ready(self, _: Request) -> Response:
        """Return 200 while the model answers questions, as /health/ready."""
        self._service.check_ready()
        return results.respond({"ready": True})

    async def server(self, _: Request) -> Response:
        """Describe the server."""
        return results.respond({"name": "qa-onnx", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def model(self, request: Request) -> Response:
        """Describe the model: its inputs and outputs."""
        self._check_model(request)
        columns: dict[str, dict[str, str]] = {"inputs": dict.fromkeys(NAMES, "BYTES"), "outputs": OUTPUTS}
        tensors = {
            kind: [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in named.items()]
            for kind, named in columns.items()
        }
        named = {"name": self._name, "versions": [_MODEL_VERSION], "platform": "qa-onnx_bundle"}
        return results.respond({**named, **tensors})

    async def model_ready(self, request: Request) -> Response:
        """Return 200 while the model answers questions."""
        self._check_model(request)
        self._service.check_ready()
        return results.respond({"name": self._name, "ready": True})

    async def infer(self, request: Request, body: Annotated[InferRequest, Body()]) -> Response:
        """Answer the questions of a request, each on its own context.

        Tensors may be in JSON or in binary after it, as the extension binary_tensor_data says.
        """
        self._check_model(request)
        state: RequestState = request.scope["qa_onnx"]
        service = self._service
        texts = {tensor.name: tensor.data or [] for tensor in body.inputs}
        contexts = texts["context"]
        state.questions = len(contexts)
        options = bodies.options_of(body.parameters, service.model, len(contexts), n_best=1)
        predictions = await service.ask_parts(map(Example, texts["question"], contexts), options, state.deadline)
        service.metrics.questions.inc(len(contexts))
        columns: dict[str, list[Any]] = {name: [] for name in OUTPUTS}
        for context, prediction in zip(contexts, predictions, strict=True):
            answer = service.reader.choose(prediction, options=options)
            for name, value in _row(context, prediction, answer, body.parameters.offset_unit).items():
                columns[name].append(value)
        named = {"model_name": self._name, "model_version": _MODEL_VERSION}
        return respond(named if body.id is None else {**named, "id": body.id}, body, columns)

    def _check_model(self, request: Request) -> None:
        """Refuse a request for another model than the bundle.

        Raises:
            Problem: 404.
        """
        name, version = request.path_params["name"], request.path_params.get("version", _MODEL_VERSION)
        if (name, version) != (self._name, _MODEL_VERSION):
            raise Problem(404, f"there is no such model: this server has {self._name}, version {_MODEL_VERSION}")


def _row(context: str, prediction: Prediction, answer: Answer, unit: OffsetUnit) -> dict[str, Any]:
    """Return an answer, or none, as a row of all outputs."""
    null = {"null_probability": prediction.null_probability}
    if not answer:  # nothing of one that is withheld is shown
        found = Answer("", -1, -1, prediction.null_score, prediction.null_probability)
        return found.to_dict() | null
    units = results.convert(context, (answer.start, answer.end), unit)
    return answer.to_dict() | null | {"start": units[answer.start], "end": units[answer.end]}
