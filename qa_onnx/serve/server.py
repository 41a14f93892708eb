"""Server processes: a listening socket -> requests answered until a signal asks to stop.

    SIGTERM or SIGINT    accept no more connections, answer what was accepted, exit with code 0
    a second one         end at once

One process is a `uvicorn.Server`. Several share the socket under uvicorn's `Multiprocess`, which starts them,
replaces those that die and stops them. They are new processes and not forks, because ONNX Runtime's threads do not
survive a fork. A worker accepts connections after its model is loaded; until then they wait in the socket.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
import threading
from concurrent.futures import Future, wait
from functools import partial
from multiprocessing import Pipe
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from qa_onnx.errors import InputError
from qa_onnx.machine.processes import without_interrupts
from qa_onnx.serve import logs, metrics
from qa_onnx.serve.app import service_app
from qa_onnx.serve.logs import LOGGER, describe_error
from qa_onnx.serve.protocol import MAX_HEAD_BYTES, LimitedProtocol
from qa_onnx.serve.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from types import FrameType

    from starlette.types import ASGIApp

    from qa_onnx.serve.settings import Model, Settings

_BACKLOG = 1024  # connections that may wait to be accepted
_HEALTH_S = 30  # a worker that does not react for so long is replaced; importing may take long on a busy machine
_POLL_S = 0.2  # between two looks at the supervisor of a worker that loads its model
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket and listen on it.

    Args:
        host: a name or an address; of several addresses the first is used.
        port: 0: any free port.

    Raises:
        InputError: the socket cannot be bound.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"cannot listen on {host} port {port}: {error}; choose another --host or --port"
        ) from error
    # Connections inherit it. Without it a body waits up to 40 ms for the client's acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def open_streams() -> None:
    """Open /dev/null as stdin, stdout and stderr where they are closed: else sockets get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def exit_at_signals() -> None:
    """Exit with code 0 at a signal: before uvicorn takes over, and when it raises the signal again at its end."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))


def run(settings: Settings, model: Model, listener: socket.socket) -> None:
    """Serve in this process until a signal asks to stop; needs the main thread.

    Raises:
        QaOnnxError: the model could not be loaded, or gives other logits here than at export.
    """
    service = Service(settings, model, metrics.Metrics())
    server = _Server(_config(service_app(service), settings))
    loading = _in_thread(service.load)

    async def load() -> None:
        try:
            await asyncio.wrap_future(loading)
        except BaseException:
            server.should_exit = True
            raise

    async def serve() -> None:
        loaded = asyncio.create_task(load())  # meanwhile requests get 503
        await server.serve(sockets=[listener])
        await loaded

    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(serve())
    finally:
        if not loading.done():  # a signal came, and a bundle may take for ever to load
            os._exit(0)


def _in_thread(work: Callable[[], None]) -> Future[None]:
    """Do some work in a thread that does not keep the process from ending."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()  # so that nobody who waits for it can cancel it

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is waited for
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="qa-onnx-load", daemon=True).start()
    return done


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully at the first signal, and at once at the second."""
        if self.should_exit:
            os._exit(1)
        super().handle_exit(sig, frame)


class _Supervisor(Multiprocess):
    """Starts, replaces and stops workers.

    Args:
        config: of the workers.
        listener: that they share.
        supervising: writing end of a pipe; workers whose model loads end when it is closed.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket, supervising: Connection) -> None:
        super().__init__(config, [listener])
        self._supervising = supervising

    def terminate_all(self) -> None:
        self._supervising.close()
        super().terminate_all()


def run_workers(settings: Settings, model: Model, listener: socket.socket, workers: int) -> bool:
    """Serve in several processes until a signal asks to stop; needs the main thread.

    Returns:
        True if one signal stopped all workers; False if a model could not be loaded, or a second signal came.
    """
    with TemporaryDirectory(prefix="qa-onnx-metrics-") as folder:
        os.environ[metrics.FOLDER] = folder  # the workers inherit it
        supervised, supervising = Pipe(duplex=False)
        app = partial(create_worker_app, settings, model, supervised)
        config = _config(app, settings, factory=True, workers=workers)
        supervisor = _Supervisor(config, listener, supervising)
        signals = []

        def stop(number: int, _: FrameType | None = None) -> None:
            signals.append(number)
            supervisor.should_exit.set()
            if len(signals) > 1:
                for process in supervisor.processes:
                    process.kill()

        for number in _SIGNALS:
            signal.signal(number, stop)
        with without_interrupts():  # workers get the signals of this process, and not a terminal's Ctrl-C
            _take_interrupts(stop)
            supervisor.run()
        return len(signals) == 1


def _take_interrupts(stop: Callable[[int], None]) -> None:
    """Call a function in a thread at each SIGINT, which the other threads and all workers block."""

    def work() -> None:
        while True:
            stop(signal.sigwait({signal.SIGINT}))

    if hasattr(signal, "sigwait"):  # else, on Windows, nothing is blocked
        threading.Thread(target=work, name="qa-onnx-interrupts", daemon=True).start()


def create_worker_app(settings: Settings, model: Model, supervised: Connection) -> ASGIApp:
    """Create the application of a worker; exit with uvicorn's `STARTUP_FAILURE` if its model does not load.

    Args:
        settings: of the server.
        model: to load.
        supervised: ends when the supervisor stops or dies, and the worker with it. A signal alone could come when
            uvicorn notes it already but nobody looks yet, and a model may take for ever to load.
    """
    logs.start()
    service = Service(settings, model, metrics.Metrics())
    loading = _in_thread(service.load)
    while not wait([loading], _POLL_S).done:
        if supervised.poll():
            os._exit(0)
    if (error := loading.exception()) is not None:  # whatever it is, the next worker would fail as well
        LOGGER.error("cannot start", extra={"fields": {"reason": str(error), **describe_error(error)}})
        os._exit(STARTUP_FAILURE)  # at once, so that uvicorn does not wait for an answer to its health check
    _stop_with_supervisor(supervised)
    return service_app(service)


def _stop_with_supervisor(supervised: Connection) -> None:
    """Stop this worker gracefully when its supervisor ends, even if that was killed."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_reader(supervised.fileno())
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(supervised.fileno(), stop)


def _config(app: Any, settings: Settings, **changes: Any) -> uvicorn.Config:
    """Return uvicorn's settings."""
    http: Any = partial(LimitedProtocol, head_timeout_s=settings.read_timeout_s)
    return uvicorn.Config(
        app,
        http=http,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none",
        loop="auto",  # uvloop where it is installed
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=math.ceil(settings.timeout_s + settings.read_timeout_s),
        timeout_worker_healthcheck=_HEALTH_S,
        **changes,
    )
