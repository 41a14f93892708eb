"""A process that answers questions, and is stopped while others do.

Sessions of several settings in one process spoil each other's time, since the threads of an idle one spin for a
while; so each contender has a process of its own, and is stopped (SIGSTOP) whenever it is not its turn.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Contender:
    """A command that takes requests on stdin and gives replies on stdout, JSON, one a line.

    Use it as a context manager: it is killed at the end.

    Args:
        name: to speak of it.
        command: it says one line when it is ready; one with an "error" ends it.

    Raises:
        EngineError: it ended, or said that it cannot.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        if not hasattr(signal, "SIGSTOP"):
            raise EngineError("this operating system cannot stop a process and let it go on: use Linux or macOS")
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            self._reply()
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

    def end(self) -> None:
        """Kill it, stopped or not."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(
                f"{self.name} ended with exit code {self._process.wait()}: run its command by hand to see why"
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise EngineError(reply["error"])
        return reply
