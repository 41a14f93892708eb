"""The server as an application of Ray Serve: `serve run qa_onnx.serve.ray_app:build bundle=PATH num_cpus=2`.

Each replica has the endpoints and the page of `qa-onnx serve`, a reader of its own, and batches that its requests
share. Ray starts replicas, sends the requests to them, and replaces one that dies or whose logits go wrong.

Left out: what a process of `qa-onnx serve` does around the application, which here is Ray's part (server.py,
protocol.py).
"""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from ray import serve

from qa_onnx.errors import InputError, quoted
from qa_onnx.machine.packages import require
from qa_onnx.serve import keys, logs
from qa_onnx.serve.app import service_app
from qa_onnx.serve.metrics import Metrics
from qa_onnx.serve.service import Service
from qa_onnx.serve.settings import Model, Settings, limits

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

NAME = "qa-onnx"  # of the deployment


class ReplicaArguments(BaseModel):
    """What `build` takes besides the limits of `Settings`; "a,b" is a list of names.

    Attributes:
        bundle: as in `Reader.load`, which is called in the replica: every node must find it. So are the next six.
        num_cpus: cores that Ray keeps for a replica; its threads, unless `threads` says otherwise.
        num_gpus: GPUs that Ray keeps for a replica; None: 1 with `device="cuda"`, else 0.
        min_replicas: that Ray keeps running.
        max_replicas: that Ray starts under load; None: `min_replicas`.
        target_ongoing_requests: of a replica; with more Ray starts another, with fewer it stops one.
        api_key_file: as `--api-key-file`; read where `build` runs, and only hashes are sent to the replicas.
        allowed_hosts: as `--allowed-host`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: str | None = None
    revision: str | None = None
    precision: str | None = None
    device: Literal["cpu", "cuda"] | None = None
    engine: Literal["onnxruntime", "openvino", "tensorrt"] | None = None
    threads: int | None = Field(default=None, ge=1)
    allow_fallback: bool = False
    require_signature: Path | None = None
    num_cpus: float = Field(default=1, gt=0)
    num_gpus: float | None = Field(default=None, ge=0)
    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int | None = Field(default=None, ge=1)
    target_ongoing_requests: float = Field(default=16, gt=0)
    api_key_file: Path | None = None
    allowed_hosts: Annotated[
        tuple[str, ...], BeforeValidator(lambda names: names.split(",") if isinstance(names, str) else names)
    ] = ()

    @model_validator(mode="after")
    def _check_replicas(self) -> ReplicaArguments:
        if self.most_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}; it must be at least {self.min_replicas}")
        return self

    @property
    def most_replicas(self) -> int:
        """Replicas at most."""
        return max(1, self.min_replicas) if self.max_replicas is None else self.max_replicas

    def load(self, settings: Settings) -> Service:
        """Load the model and check its logits, which takes a second or more.

        Raises:
            QaOnnxError: it is damaged, cannot be used here, or gives other logits than at export.
        """
        model = Model.resolve(
            self.bundle,
            revision=self.revision,
            require_signature=self.require_signature,
            precision=self.precision,
            device=self.device,
            engine=self.engine,
            threads=self.threads,
            share=max(1, int(self.num_cpus)),
            allow_fallback=self.allow_fallback,
        )
        service = Service(settings, model, Metrics())
        service.load()
        return service


class ReplicaApp:
    """The application of one replica, with the service behind it.

    Args:
        service: whose model is loaded.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._app = service_app(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or the start and end of the replica."""
        await self._app(scope, receive, send)

    async def check_health(self) -> None:
        """Refuse where only a new replica helps: the reader has failed, or its golden examples come out wrong.

        Raises:
            Problem: the reader has closed by itself.
            QaOnnxError: the logits are not those of the export, or the model cannot be run.
        """
        self._service.check_alive()
        await asyncio.to_thread(self._service.check_logits)


class Replica:
    """The deployment; `serve.ingress` adds the application to it, as `app`."""

    app: ReplicaApp

    async def check_health(self) -> None:
        """Ray calls this every ten seconds, and replaces a replica after three that raise or take too long."""
        await self.app.check_health()


def build(arguments: dict[str, Any]) -> serve.Application:
    """Build the application for `serve run`, `serve build` and `serve.run`, with any route prefix.

    Args:
        arguments: names and values, also as text, of `ReplicaArguments` and of the limits in `Settings`.

    Raises:
        InputError: an argument is unknown or wrong; or the key file is.
        MissingExtraError: a package of the extra `serve`, or an ONNX Runtime, is not installed here.
    """
    require("serve", onnxruntime=True)
    asked, settings = _read(arguments)

    def create() -> ReplicaApp:  # runs in each replica
        logs.start()
        return ReplicaApp(asked.load(settings))

    gpus = float(asked.device == "cuda") if asked.num_gpus is None else asked.num_gpus
    deployment = serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": asked.num_cpus, "num_gpus": gpus},
        autoscaling_config={
            "min_replicas": asked.min_replicas,
            "max_replicas": asked.most_replicas,
            "target_ongoing_requests": asked.target_ongoing_requests,
        },
        max_ongoing_requests=settings.max_queue,
        max_queued_requests=settings.max_queue,
        graceful_shutdown_timeout_s=settings.timeout_s + settings.read_timeout_s,
    )
    application: serve.Application = deployment(serve.ingress(create)(Replica)).bind()
    return application


def _read(arguments: dict[str, Any]) -> tuple[ReplicaArguments, Settings]:
    """Return the arguments of `build`, checked.

    Raises:
        InputError: one is unknown or wrong.
    """
    names = {limit.name for limit in limits()}
    known = names | set(ReplicaArguments.model_fields)
    if unknown := sorted(set(arguments) - known):
        raise InputError(
            f"there is no argument {quoted(unknown[0])}", remedy=f"the arguments are {', '.join(sorted(known))}"
        )
    try:
        asked = ReplicaArguments.model_validate({name: arguments[name] for name in arguments if name not in names})
        settings = TypeAdapter(Settings).validate_python(
            {
                **{name: arguments[name] for name in arguments if name in names},
                "allowed_hosts": asked.allowed_hosts,
                "keys": () if asked.api_key_file is None else keys.read_keys(asked.api_key_file),
                "loopback": False,  # nobody here knows where Ray's proxy listens
            }
        )
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        name = f"argument {found['loc'][0]} is {quoted(found['input'])}: " if found["loc"] else ""
        raise InputError(name + found["msg"].removeprefix("Value error, ")) from None
    return asked, settings
