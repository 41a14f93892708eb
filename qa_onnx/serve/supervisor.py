"""Several server processes that share a port: starts them, replaces those that die, stops them together.

    supervisor --stdin: settings as JSON, one line--> worker      (the pipe stays open: its end means "I am gone")
    supervisor --SIGTERM--> worker                                 (stop gracefully)

All accept from one socket, so that a worker that is killed takes along what it had accepted and nothing else. A
worker accepts once its model is loaded; connections wait until the first one has.
Workers are new processes, not forks: ONNX Runtime's threads do not survive a fork.

Left out: what a worker does (server.py).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from prometheus_client.multiprocess import mark_process_dead

from qa_onnx.serve.logs import LOGGER
from qa_onnx.serve.metrics import FOLDER

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

CANNOT_START = 3  # exit code of a worker whose model does not load
_TICK_S = 0.1
_HEALTHY_S = 10.0  # a worker that lived so long is replaced at once
_LONGEST_PAUSE_S = 30.0


@dataclass(slots=True)
class _WorkerProcess:
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=monotonic)


class Supervisor:
    """Runs workers until it is asked to stop.

    Args:
        command: starts a worker, which reads its settings from stdin.
        settings: of a worker, as JSON.
        listener: the socket that they share; closed in the end.
        workers: how many.
        stop_s: that they may take to stop; then they are killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        settings: Mapping[str, Any],
        *,
        listener: socket.socket,
        workers: int,
        stop_s: float,
    ) -> None:
        self._command = list(command)
        self._settings = settings
        self._listener = listener
        self._count = workers
        self._stop_s = stop_s
        self._workers: list[_WorkerProcess] = []
        self._signals = 0
        self._pause_s = 0.0
        self._next_start = 0.0

    def run(self) -> bool:
        """Supervise until SIGTERM or SIGINT; needs the main thread.

        Returns:
            Whether all workers started, and stopped when they were asked to.
        """
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            with tempfile.TemporaryDirectory(prefix="qa-onnx-metrics-") as folder:
                try:
                    return self._supervise(folder)
                finally:
                    for worker in self._workers:
                        worker.process.kill()
                        worker.process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, *_: object) -> None:
        self._signals += 1

    def _supervise(self, folder: str) -> bool:
        while len(self._workers) < self._count:
            self._start(folder)
        started = set(self._workers_ids())
        while not self._signals:
            for worker in [*self._workers]:
                code = worker.process.poll()
                if code is None:
                    continue
                self._bury(worker, code, folder)
                if code == CANNOT_START and worker.process.pid in started:
                    self._stop()
                    return False
            if len(self._workers) < self._count and monotonic() >= self._next_start:
                self._start(folder)
            sleep(_TICK_S)
        return self._stop()

    def _workers_ids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers]

    def _start(self, folder: str) -> None:
        socket_number = self._listener.fileno()
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            pass_fds=(socket_number,),
            env={**os.environ, FOLDER: folder},
            start_new_session=True,  # Ctrl-C is the supervisor's to hand on
        )
        self._workers.append(_WorkerProcess(process))
        settings = {**self._settings, "socket": socket_number}
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead already, as the next look at it tells
        LOGGER.info("worker started", extra={"fields": {"worker": process.pid}})

    def _bury(self, worker: _WorkerProcess, code: int, folder: str) -> None:
        """Take note of a dead worker, and when the next one may start."""
        self._workers.remove(worker)
        if worker.process.stdin is not None:
            worker.process.stdin.close()
        mark_process_dead(worker.process.pid, folder)  # type: ignore[no-untyped-call]
        LOGGER.error("worker ended", extra={"fields": {"worker": worker.process.pid, "exit_code": code}})
        healthy = monotonic() - worker.started > _HEALTHY_S
        self._pause_s = 0.0 if healthy else min(_LONGEST_PAUSE_S, max(0.5, 2 * self._pause_s))
        self._next_start = monotonic() + self._pause_s

    def _stop(self) -> bool:
        """Ask all workers to stop, and wait; at a second signal, or too late, the rest is killed."""
        self._listener.close()
        LOGGER.info("stopping", extra={"fields": {"workers": len(self._workers)}})
        for worker in self._workers:
            worker.process.send_signal(signal.SIGTERM)
        deadline, signals, clean = monotonic() + self._stop_s, self._signals, True
        while self._workers and monotonic() < deadline and self._signals <= max(1, signals):
            for worker in [*self._workers]:
                if worker.process.poll() is not None:
                    self._workers.remove(worker)
                    # One that was still starting ends by the signal; it had accepted nothing.
                    clean &= worker.process.returncode in {0, -signal.SIGTERM}
            sleep(_TICK_S)
        return clean and not self._workers


def worker_settings() -> dict[str, Any]:
    """In a worker: what the supervisor tells it."""
    settings: dict[str, Any] = json.loads(_read_line(sys.stdin.fileno()))
    return settings


def _read_line(pipe: int) -> bytes:
    """A line, byte by byte: a buffer would hide the end of the pipe from `orphaned`."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(pipe, 1)
        if not byte:
            break
        line += byte
    return line


def orphaned() -> bool:
    """In a worker: whether the supervisor is gone, however it ended."""
    readable, _, _ = select.select([sys.stdin.fileno()], [], [], 0)
    return bool(readable) and os.read(sys.stdin.fileno(), 1) == b""
