"""Bytes of a document -> its text, in a process of its own that is ended when its time is over.

Not multiprocessing, whose new processes run the program's own main file again: a library must not. The process is
another run of this Python, which speaks through its standard streams: a line of JSON with the sizes, then bytes. A
parser that crashes, fills its memory or does not end costs that process alone; the next document starts another.
This guards against damage and hostile loops. It is no sandbox: the process has the user's rights.
"""

from __future__ import annotations

import json
import subprocess
import sys
from array import array
from contextlib import contextmanager, suppress
from threading import Event, Lock, Timer
from typing import IO, TYPE_CHECKING, Any

from qa_onnx.documents.document import Origin
from qa_onnx.documents.limits import beyond
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qa_onnx.documents.limits import Limits

# The paths of this process, so that the other one finds the same packages.
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); import qa_onnx.documents.parser_main as m; m.main()"
)
READY = b"ready\n"  # its first line
_BEGIN_S = 60  # for starting Python
_LONGEST_LINE = 10_000  # characters of an answer's first line


class ParserProcess:
    """A process that converts documents, one after the other; it starts when it is needed.

    Args:
        limits: of each document.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def convert(self, kind: str, data: bytes) -> tuple[str, Origin]:
        """Return text and origin of a document.

        Args:
            kind: "pdf", "docx", "html" or "markdown".
            data: the file; of the last two, in UTF-8.

        Raises:
            InputError: the parser says so, needs more time or memory than it may have, or crashed.
        """
        with self._lock:
            process = self._started()
            answer: tuple[dict[str, Any], bytes, bytes] | None = None
            try:
                with _ended_after(self._limits.seconds, process) as is_late:
                    answer = _exchange(process, kind, data)
            finally:
                if answer is None:  # also if Ctrl-C came: the next answer would be this one's
                    self._end()
            if is_late() or answer is None:
                raise self._problem(process.returncode, late=is_late())
        head, text, runs = answer
        if "problem" in head:
            remedy, limit = (str(head.get(name, "")) for name in ("remedy", "limit"))
            raise InputError(str(head["problem"]), remedy=remedy, limit=limit)
        size = len(runs) // 4
        return text.decode(), Origin(*(array("q", runs[at * size : (at + 1) * size]) for at in range(4)))

    def close(self) -> None:
        """End the process, if it runs."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        """Return the process, which waits for a document."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        limits = {name: getattr(self._limits, name) for name in self._limits.__slots__}
        command = [
            sys.executable or "python3",
            "-c",
            _START,
            json.dumps([path for path in sys.path if isinstance(path, str)]),
            json.dumps(limits),
        ]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches this process, which ends the other
            )
        except OSError as error:
            raise InputError(f"the process that reads documents cannot start: {error.strerror}") from error
        ready = b""
        try:
            with _ended_after(_BEGIN_S, self._process):
                assert self._process.stdout is not None
                ready = self._process.stdout.readline(_LONGEST_LINE)
        finally:
            process = self._process
            if ready != READY:
                self._end()
        if ready != READY:
            raise InputError(
                f"the process that reads documents did not start (status {process.returncode})",
                remedy=f"in Python raise Limits(memory_bytes=...), which is {self._limits.memory_bytes:,}",
                limit="memory_bytes",
            )
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with suppress(OSError):  # what was not written yet cannot be
                stream.close()
        process.wait()

    def _problem(self, code: int | None, *, late: bool) -> InputError:
        if late:
            return beyond("seconds", f"taking the text out took more than {self._limits.seconds} seconds")
        return beyond(
            "memory_bytes",
            f"its parser crashed, or filled its {self._limits.memory_bytes:,} bytes of memory (status {code})",
            "it is damaged or too large: save it again, split it",
        )


@contextmanager
def _ended_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[Callable[[], bool]]:
    """End a process after a time; what reads from it then meets its end.

    Yields:
        A function that tells whether the time was over.
    """
    late = Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late.is_set
    finally:
        timer.cancel()
        timer.join()


def _exchange(
    process: subprocess.Popen[bytes], kind: str, data: bytes
) -> tuple[dict[str, Any], bytes, bytes] | None:
    """Send a document and return the answer: facts, text and runs; None: the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps({"kind": kind, "size": len(data)}).encode() + b"\n")
        process.stdin.write(data)
        process.stdin.flush()
        head = json.loads(process.stdout.readline(_LONGEST_LINE))
        text, runs = (_exactly(process.stdout, head[name]) for name in ("text", "runs"))
    except (OSError, EOFError, ValueError):
        return None
    return head, text, runs


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
