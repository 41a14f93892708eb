"""The other side of parser_process.py: documents from standard input -> texts on standard output.

It limits its own memory, and by an alarm its time for each document, in case the process that would end it has
ended. Left out: which parser reads what (pdf.py, docx.py, html.py, markdown.py).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import IO, TYPE_CHECKING, Any

from qa_onnx.documents.limits import Limits
from qa_onnx.documents.parser_process import READY
from qa_onnx.errors import QaOnnxError, shown

if TYPE_CHECKING:
    from qa_onnx.documents.document import Origin

_ALARM_S = 10  # later than the other process would end this one


def main() -> None:
    """Convert documents until standard input ends."""
    limits = Limits(**json.loads(sys.argv[2]))
    _limit_memory(limits.memory_bytes)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    answers.write(READY)
    answers.flush()
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        data = sys.stdin.buffer.read(request["size"])
        if hasattr(signal, "alarm"):
            signal.alarm(limits.seconds + _ALARM_S)
        _answer(answers, request["kind"], data, limits)
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or size < hard:
        resource.setrlimit(resource.RLIMIT_AS, (size, hard))


def _answer(answers: IO[bytes], kind: str, data: bytes, limits: Limits) -> None:
    try:
        text, origin = _convert(kind, data, limits)
        encoded = text.encode("utf-8", "replace")
        runs = b"" if origin is None else _together(origin)
        head: dict[str, Any] = {"text": len(encoded), "runs": len(runs)}
    except QaOnnxError as error:
        told = {"problem": error.problem, "remedy": error.remedy, "limit": getattr(error, "limit", "")}
        head, encoded, runs = {**told, "text": 0, "runs": 0}, b"", b""
    except MemoryError:
        raise SystemExit(3) from None
    except Exception as error:  # noqa: BLE001  # a parser's own, of a file that it does not understand
        problem = f"its parser failed ({type(error).__name__}: {shown(str(error))})"
        head, encoded, runs = {"problem": problem, "remedy": "save it again", "text": 0, "runs": 0}, b"", b""
    for part in (json.dumps(head).encode() + b"\n", encoded, runs):
        answers.write(part)
    answers.flush()


def _convert(kind: str, data: bytes, limits: Limits) -> tuple[str, Origin | None]:
    if kind == "pdf":
        from qa_onnx.documents.pdf import pdf_text

        return pdf_text(data, limits), None
    if kind == "docx":
        from qa_onnx.documents.docx import docx_text

        return docx_text(data, limits), None
    if kind == "html":
        from qa_onnx.documents.html import html_text

        return html_text(data.decode(), limits), None
    from qa_onnx.documents.markdown import markdown_text

    return markdown_text(data.decode(), limits)


def _together(origin: Origin) -> bytes:
    """Return the runs as 64-bit numbers: all starts, then all ends, sources and lengths."""
    return b"".join(column.tobytes() for column in (origin.starts, origin.ends, origin.sources, origin.lengths))
