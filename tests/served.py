"""A server process on a free port of the loopback, for tests to talk to as any client would."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import httpx

from .conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 60.0  # for what takes a second on a machine with nothing else to do
ROOT = Path(__file__).parents[1]


@dataclass
class Served:
    """A running server.

    Attributes:
        process: of the command.
        port: that it listens on.
        log: file with its stderr.
        client: for it.
    """

    process: subprocess.Popen[str]
    port: int
    log: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_S, trust_env=False)

    def answer(self, body: Any, **headers: str) -> httpx.Response:
        content, media = json.dumps(body), {"Content-Type": "application/json"}  # json=None would send nothing
        return self.client.post("/v1/answer", content=content, headers={**media, **headers})

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def exchange(self, request: bytes) -> bytes:
        """What comes back for raw bytes until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return received(connection)

    def logged(self) -> list[dict[str, Any]]:
        whole, _, _ = self.log.read_bytes().rpartition(b"\n")  # the last line may be half written
        return [json.loads(line) for line in whole.splitlines() if line.strip()]

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels; 0 where it was never counted."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def eventually(true: Any, what: str) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


@contextmanager
def serve(*arguments: object, bundle: Path = TINY, wait: bool = True, threads: int = 1) -> Iterator[Served]:
    """Run `qa-onnx serve` on the tiny bundle until the block is left; kill it then if it still runs."""
    command = [sys.executable, "-m", "qa_onnx", "serve", "-b", str(bundle), "--port", "0"]
    command += ["--precision", "fp32", "--threads", str(threads), *map(str, arguments)]
    with NamedTemporaryFile("ab") as file:
        log = Path(file.name)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("http://"), log.read_text()
            served = Served(process, int(line.rstrip("/\n").rpartition(":")[2]), log)
            with served.client:
                if wait:
                    eventually(lambda: served.client.get("/health/ready").status_code == 200, "ready")
                yield served
        finally:
            process.kill()
            process.communicate()
