"""A server process on a free port of the loopback, for tests to talk to as any client would."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer

from tests.conftest import TINY, TINY_TOKENIZER
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

if missing := [name for name in ("fastapi", "uvicorn", "prometheus_client", "httpx") if find_spec(name) is None]:
    pytest.skip(f"needs qa-onnx[serve] and httpx: no {', '.join(missing)}", allow_module_level=True)
import httpx

PATIENT = ("--timeout-s", 600, "--read-timeout-s", 600)  # so that a busy machine does not make a server give up
ROOT = Path(__file__).parents[1]


@dataclass
class Gate:
    """Holds back the runs of a server that was started with one.

    Attributes:
        folder: see gated_server.py.
    """

    folder: Path

    def hold(self, word: str = "") -> None:
        """Make all runs wait, or those of batches with this word, which must be one token."""
        tokens = Tokenizer.from_file(str(TINY_TOKENIZER)).encode(word, add_special_tokens=False).ids
        assert len(tokens) == bool(word), f"{word!r} is not one token of the tiny tokenizer, but {tokens}"
        draft = self.folder / "draft"
        draft.write_text("".join(map(str, tokens)), encoding="ascii")
        draft.replace(self.folder / "held")

    def release(self) -> None:
        """Let the waiting runs go on."""
        (self.folder / "held").unlink()

    def go_deaf(self) -> None:
        """Let runs that wait ignore that they are told to end."""
        (self.folder / "deaf").touch()

    def wait_for_a_run(self) -> None:
        """Wait until a run waits."""
        eventually((self.folder / "waiting").exists, "a run waits at the gate")


@dataclass
class Served:
    """A running server.

    Attributes:
        process: of the command.
        port: that it listens on.
        log: file with its stderr.
        gate: of its runs, where it was started with one.
        client: for it; each request has a connection of its own, since the server may close one that idles just
            as it is used again.
    """

    process: subprocess.Popen[str]
    port: int
    log: Path
    gate: Gate
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=PATIENCE_S,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def answer(self, body: Any, **headers: str) -> httpx.Response:
        content, media = json.dumps(body), {"Content-Type": "application/json"}  # json=None would send nothing
        return self.client.post("/v1/answer", content=content, headers={**media, **headers})

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def exchange(self, request: bytes) -> bytes:
        """Send raw bytes; return everything that comes back until the server closes the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            return received(connection)

    def logged(self) -> list[dict[str, Any]]:
        whole, _, _ = self.log.read_bytes().rpartition(b"\n")  # the last line may be half written
        return [json.loads(line) for line in whole.splitlines() if line.strip()]

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels; 0 if it was never counted."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def serve_quietly(*arguments: object) -> Iterator[Served]:
    """Serve; at the end of the block the log has no error, no traceback and no control character."""
    with serve(*arguments) as running:
        yield running
        assert [line for line in running.logged() if line["level"] == "error"] == []
        log = running.log.read_bytes()
        assert b"Traceback" not in log
        assert all(byte >= ord(" ") or byte == ord("\n") for byte in log)


def received(connection: socket.socket) -> bytes:
    """Receive until the other side closes the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@contextmanager
def serve(
    *arguments: object,
    bundle: Path = TINY,
    wait: bool = True,
    threads: int = 1,
    gated: bool = False,
    held: bool = False,
    before: str | None = None,
) -> Iterator[Served]:
    """Run `qa-onnx serve` on the tiny bundle; kill it at the end of the block if it still runs.

    Args:
        arguments: of the command; they come after `PATIENT`.
        bundle: that it serves.
        wait: until it is ready.
        threads: of a run.
        gated: its runs can be held back.
        held: they are from the start, so that it does not get ready.
        before: code that the process runs first.
    """
    with NamedTemporaryFile("ab") as file, TemporaryDirectory() as folder:
        if held:
            Gate(Path(folder)).hold()
        program = ["-m", "tests.gated_server", folder] if gated else ["-m", "qa_onnx"]
        if before is not None:
            program = ["-c", f"{before}\nfrom qa_onnx.cli import main\nmain()"]
        command = [sys.executable, *program, "serve", "-b", str(bundle), "--port", "0"]
        command += ["--precision", "fp32", "--threads", str(threads), *map(str, (*PATIENT, *arguments))]
        log = Path(file.name)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("http://"), log.read_text()
            served = Served(process, int(line.rstrip("/\n").rpartition(":")[2]), log, Gate(Path(folder)))
            with served.client:
                if wait:
                    eventually(lambda: served.client.get("/health/ready").status_code == 200, "ready")
                yield served
        finally:
            process.kill()
            process.communicate()
