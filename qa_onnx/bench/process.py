"""A contender's process, which answers questions and is stopped (SIGSTOP) while others do.

Sessions in one process disturb each other's times, because the threads of an idle session spin for a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# Kills the process group when its stdin ends: when the parent ends, killed or not. A stopped process could not.
_GUARD = "read -r _; kill -s KILL -- -$0"
_WARM_UP = 4  # pairs
_LONGEST_ERROR = 2000  # bytes from the end of stderr


class ContenderProcess:
    """A running command that takes requests on stdin and sends replies on stdout: see protocol.py.

    Use it as a context manager: the process is killed at the end.

    Args:
        name: name for messages.
        command: sends one line when it is ready; if that has an "error", the process is ended.
        cpus: logical CPUs that it may run on; empty: the same as this process.

    Attributes:
        facts: what it sent when it was ready.

    Raises:
        EngineError: it ended, or reported an error.
    """

    def __init__(self, name: str, command: Sequence[str], *, cpus: Collection[int] = ()) -> None:
        if not hasattr(signal, "SIGSTOP"):
            raise EngineError("this operating system cannot stop and continue processes: use Linux or macOS")
        self.name = name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed in end()
        # A process group of its own: a terminal's Ctrl-C reaches this process alone, which then ends it.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            process_group=0,
        )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(self._process.pid)], stdin=subprocess.PIPE, process_group=0
        )
        try:
            if cpus and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(self._process.pid, cpus)  # its later threads inherit it from the first
            self.facts = self._reply()
        except BaseException:
            self.end()
            raise
        self._process.send_signal(signal.SIGSTOP)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its reply; the process runs only in between.

        Raises:
            EngineError: the process ended, or reported an error.
        """
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # then there is no reply either
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        reply = self._reply()
        self._process.send_signal(signal.SIGSTOP)
        return reply

    def rate(self, pairs: Sequence[tuple[str, str]], options: dict[str, Any]) -> float:
        """Return the pairs answered in a second, in one call: the better of two, after a few to warm up."""
        self.ask({"pairs": pairs[:_WARM_UP], "options": options})
        request = {"pairs": pairs, "options": options}
        best: float = min(sum(self.ask(request)["seconds"]) for _ in range(2))
        return len(pairs) / best

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def peak_bytes(self) -> int | None:
        """Return the peak of its resident memory; None if the system does not report it."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        lines = (line.split() for line in status.splitlines())
        return next((1024 * int(words[1]) for words in lines if words[:1] == ["VmHWM:"]), None)

    def end(self) -> None:
        """Kill the process, stopped or not."""
        self._guard.kill()  # first, while the process id of the other cannot be reused
        self._guard.wait()
        self._process.kill()
        self._process.wait()
        for file in (self._guard.stdin, self._process.stdin, self._process.stdout, self._stderr):
            if file is not None:
                with contextlib.suppress(BrokenPipeError):
                    file.close()

    def __enter__(self) -> ContenderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise EngineError(f"{self.name} ended with exit code {code}: {self._last_words()}")
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise EngineError(f"{self.name} sent an invalid reply: {line.strip()[:100]!r}") from error
        if "error" in reply:
            raise EngineError(reply["error"])
        return reply

    def _last_words(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _LONGEST_ERROR))
        lines = self._stderr.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        return lines[-1] if lines else "it printed nothing; run its command by hand to see why"
