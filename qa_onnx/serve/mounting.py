"""The server as an application that a host runs: mounted in a FastAPI or Starlette application, or by itself.

    qa = create_app()
    app = FastAPI(lifespan=qa.lifespan)
    app.mount("/qa", qa)

Left out: what `qa-onnx serve` does around the endpoints, which here is the host's part: processes, signals, logs,
and limits on heads of requests (server.py, protocol.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from qa_onnx.errors import ClosedError
from qa_onnx.serve.app import service_app
from qa_onnx.serve.metrics import Metrics
from qa_onnx.serve.problems import Problem, new_request_id
from qa_onnx.serve.service import Service
from qa_onnx.serve.settings import Model, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from qa_onnx import AsyncReader, Bundle, Options
    from qa_onnx.engines.names import Device, Engine

_NOT_STARTED = (
    "the model is not loaded, since nothing ran the lifespan of this application: "
    "FastAPI(lifespan=qa.lifespan), or `async with qa.lifespan():` in a lifespan of your own"
)


class MountedApp:
    """An ASGI application with the endpoints and the page of `qa-onnx serve`.

    Its model is loaded when its lifespan begins, and freed when that ends. A server that runs it by itself takes
    care of that; an application in which it is mounted must run `lifespan`.

    Args:
        service: whose model is not loaded yet.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._app = service_app(service, self.lifespan)
        self._running = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or the start and end of a server that runs this application by itself."""
        if scope["type"] == "http" and not self._running:
            await Problem(503, _NOT_STARTED).response(new_request_id())(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Load the model, and close it at the end of the block, after the last request.

        Raises:
            QaOnnxError: the model cannot be loaded, or gives other logits here than at export.
        """
        await asyncio.to_thread(self._service.load)
        self._running = True
        try:
            yield
        finally:
            self._running = False
            await self._service.close()

    @property
    def reader(self) -> AsyncReader:
        """The reader behind the endpoints, for endpoints of your own; their questions share its batches and queue.

        Raises:
            ClosedError: the lifespan has not begun, or has ended.
        """
        if not self._running:
            raise ClosedError(_NOT_STARTED)
        return self._service.reader


def create_app(
    bundle: str | Path | Bundle | None = None,
    *,
    revision: str | None = None,
    precision: str | None = None,
    device: Device | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
    allow_fallback: bool = False,
    require_signature: Path | None = None,
    options: Options | None = None,
    settings: Settings | None = None,
) -> MountedApp:
    """Create the server as an application for a host; nothing is loaded before its lifespan begins.

    Args:
        bundle: to serve; this and the next seven as in `Reader.load`.
        revision: on the hub.
        precision: of its graph.
        device: that runs it.
        engine: that runs it.
        threads: of one run on the CPU, or of as many runs side by side.
        allow_fallback: use the CPU if the GPU cannot be used.
        require_signature: public key that must have signed the bundle.
        options: defaults of the requests; None: those of the bundle, with one answer.
        settings: the limits, API keys and allowed hosts. None: the defaults; localhost, all addresses and names
            without a dot are answered for, any other host needs `Settings(allowed_hosts=...)`.

    Raises:
        QaOnnxError: the bundle is not complete, or has nothing for the engine and device.
    """
    model = Model.resolve(
        bundle,
        options,
        revision=revision,
        require_signature=require_signature,
        precision=precision,
        device=device,
        engine=engine,
        threads=threads,
        allow_fallback=allow_fallback,
    )
    # Nobody here knows which address the host listens on.
    configured = dataclasses.replace(settings or Settings(), loopback=False, owns_process=False)
    return MountedApp(Service(configured, model, Metrics()))
