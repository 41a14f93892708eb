"""One server process: a listening socket -> requests answered until a signal asks it to stop.

    SIGTERM or SIGINT    nothing new is accepted (503), what was accepted is answered, the exit code is 0
    a second one         it ends at once

Left out: several processes (supervisor.py).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from time import monotonic
from typing import TYPE_CHECKING

import uvicorn

from qa_onnx.errors import InputError
from qa_onnx.serve.app import create_app
from qa_onnx.serve.logs import LOGGER
from qa_onnx.serve.metrics import Metrics
from qa_onnx.serve.protocol import limited
from qa_onnx.serve.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from qa_onnx.serve.settings import Model, Settings

BACKLOG = 1024
_CLOSING_S = 5  # for connections to take the rest of their answers


class Server(uvicorn.Server):
    """uvicorn's server with a stop that answers first and closes afterwards.

    Args:
        config: of uvicorn.
        service: knows when all is answered.
        orphaned: says when whoever started this process is gone; None: nobody cares.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, orphaned: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(config)
        self._service = service
        self._orphaned = orphaned
        self._signals = 0
        self._last = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came; uvicorn's own would close first, and end the process by the signal."""
        self._signals += 1
        if self._signals > 1:  # whoever asks twice does not want to wait for anything, threads included
            os._exit(1)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to end."""
        service = self._service
        service.metrics.queue(service.depth)  # of what threads tell, the last may not be the latest
        if service.failure is not None:
            return True
        asked = self._signals > 0 or (self._orphaned is not None and self._orphaned())
        if asked and not service.stopping:
            LOGGER.info("stopping", extra={"fields": {"under_way": service.under_way}})
            service.stopping = True
            self._last = monotonic() + service.settings.timeout_s + service.settings.read_timeout_s
        if service.stopping and (service.under_way == 0 or monotonic() > self._last):
            return True
        return await super().on_tick(counter)


def end_at_a_signal() -> None:
    """Until `run` takes over: nothing has been accepted yet, so a signal may end the process, with code 0."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket and listen on it.

    Args:
        host: a name or address; of several addresses the first.
        port: 0: any that is free.

    Raises:
        InputError: it cannot be bound.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.create_server(address, family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"cannot listen on {host} port {port}: {error}; choose another --host or --port"
        ) from error
    found.set_inheritable(True)
    return found


def run(
    settings: Settings,
    model: Model,
    listener: socket.socket,
    *,
    accept_when_ready: bool = False,
    orphaned: Callable[[], bool] | None = None,
) -> bool:
    """Serve until a signal asks to stop. Needs the main thread, whose signal handlers it borrows.

    Args:
        settings: the limits.
        model: what is served.
        listener: as `listen` makes it; closed in the end.
        accept_when_ready: leave connections to other processes until the model is loaded.
        orphaned: see `Server`.

    Returns:
        Whether all that was accepted was answered, as far as clients waited for it.

    Raises:
        QaOnnxError: the model could not be loaded, or failed its golden check.
    """
    service = Service(settings, model, Metrics())
    config = uvicorn.Config(
        create_app(service),
        http=limited(settings.read_timeout_s),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # How many connections are accepted in one go: with more, one of several processes would take all.
        backlog=8,
        timeout_graceful_shutdown=_CLOSING_S,
    )
    server = Server(config, service, orphaned)

    async def serve() -> None:
        if accept_when_ready:
            service.start()
            while not service.ready and service.failure is None:
                await asyncio.sleep(0.05)
        listening = asyncio.get_running_loop().create_task(_deepen(server, listener))
        await server.serve(sockets=[listener])
        listening.cancel()
        if service.stuck:  # the end of the interpreter would wait for its threads
            LOGGER.warning("ended with a text half cut that nobody waited for")
            os._exit(0 if service.under_way == 0 else 1)

    asyncio.run(serve())
    if service.failure is not None:
        raise service.failure
    return service.under_way == 0


async def _deepen(server: Server, listener: socket.socket) -> None:
    """Let the kernel queue more connections than uvicorn, which has one number for both, has set."""
    while not server.started:
        await asyncio.sleep(0.01)
    listener.listen(BACKLOG)
    LOGGER.info("accepts connections")
