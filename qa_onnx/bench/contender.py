"""A process that answers questions, and is stopped while others do.

Sessions of several settings in one process spoil each other's time, since the threads of an idle one spin for a
while; so each contender has a process of its own, and is stopped (SIGSTOP) whenever it is not its turn.
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

# Waits for the end of its stdin, that is of whoever started it, killed or not; a stopped process could not.
_GUARD = "read -r _; kill -s KILL -- -$0"
_LONGEST_ERROR = 2000  # characters of the end of its stderr


class Contender:
    """A command that takes requests on stdin and gives replies on stdout: see protocol.py.

    Use it as a context manager: it is killed at the end.

    Args:
        name: to speak of it.
        command: it says one line when it is ready; one with an "error" ends it.
        cpus: logical CPUs that it may run on; empty: all that this process may.

    Attributes:
        facts: what it said when it was ready.

    Raises:
        EngineError: it ended, or said that it cannot.
    """

    def __init__(self, name: str, command: Sequence[str], *, cpus: Collection[int] = ()) -> None:
        if not hasattr(signal, "SIGSTOP"):
            raise EngineError("this operating system cannot stop a process and let it go on: use Linux or macOS")
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
                os.sched_setaffinity(self._process.pid, cpus)  # it has one thread yet, which the others inherit
            self.facts = self._reply()
        except BaseException:
            self.end()
            raise
        self._process.send_signal(signal.SIGSTOP)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply; the process runs only meanwhile.

        Raises:
            EngineError: it ended, or said that it cannot.
        """
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # then there is no reply either
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        reply = self._reply()
        self._process.send_signal(signal.SIGSTOP)
        return reply

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def peak_bytes(self) -> int | None:
        """The most memory that it had resident so far; None where the system does not tell."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        lines = (line.split() for line in status.splitlines())
        return next((1024 * int(words[1]) for words in lines if words[:1] == ["VmHWM:"]), None)

    def end(self) -> None:
        """Kill it, stopped or not."""
        self._guard.kill()  # before the number of the other can be another process's
        self._guard.wait()
        self._process.kill()
        self._process.wait()
        for file in (self._guard.stdin, self._process.stdin, self._process.stdout, self._stderr):
            if file is not None:
                with contextlib.suppress(BrokenPipeError):
                    file.close()

    def __enter__(self) -> Contender:
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
            raise EngineError(f"{self.name} said what is no reply: {line.strip()[:100]!r}") from error
        if "error" in reply:
            raise EngineError(reply["error"])
        return reply

    def _last_words(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _LONGEST_ERROR))
        lines = self._stderr.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else "it said nothing; run its command by hand to see why"
