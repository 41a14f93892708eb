"""A file, or its bytes -> a `Document`, within limits.

Plain text, CSV and TSV are read here, by code whose work the limits bound. PDF, HTML, Markdown and DOCX go through
parsers that a crafted file can keep busy for minutes or hours, or crash: they run in a process of their own
(parser_process.py), which a clock ends.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qa_onnx.data.file_kinds import decode
from qa_onnx.documents.document import Document, Origin
from qa_onnx.documents.kinds import kind_of_document
from qa_onnx.documents.limits import Limits
from qa_onnx.documents.parser_process import ParserProcess
from qa_onnx.documents.separated import table_text
from qa_onnx.errors import InputError, MissingExtraError, quoted, shown
from qa_onnx.machine.files import check_path, open_file, os_errors
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_IN_EXTRA = {"pdf", "html"}
_WITHOUT_ORIGIN = {"pdf", "docx", "html"}


class DocumentReader:
    """Reads documents one after the other, all with one parser process, which starts with the first that needs it.

    A context manager. Threads that share one wait for each other; give each its own to read at the same time.

    Args:
        limits: of each document; None: `Limits()`.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = Limits() if limits is None else limits
        self._process = ParserProcess(self.limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the parser process; the reader may be used again."""
        self._process.close()

    def read(self, path: str | Path, *, name: str | None = None) -> Document:
        """Read a file; see `read_document`."""
        check_path("path", path)
        called = os.fspath(path) if name is None else name
        with (
            os_errors(InputError, f"cannot read {shown(called)}"),
            open_file(path, limit=self.limits.file_bytes, name=shown(called)) as file,
        ):
            data = file.read()
        return self.read_bytes(data, called)

    def read_bytes(self, data: bytes, name: str) -> Document:
        """Read the bytes of a file; see `read_document_bytes`."""
        if not isinstance(data, (bytes, bytearray, memoryview)) or not isinstance(name, str):
            raise InputError(f"data is {quoted(data)} and name {quoted(name)}; they must be bytes and a str")
        data = bytes(data)
        try:
            self.limits.refuse("file_bytes", len(data), "bytes")
            return self._read(data, name)
        except MissingExtraError:
            raise
        except InputError as error:
            problem = error.problem if shown(name) in error.problem else f"{shown(name)}: {error.problem}"
            raise InputError(problem, remedy=error.remedy, limit=error.limit) from error

    def _read(self, data: bytes, name: str) -> Document:
        kind = kind_of_document(data, name)
        if kind in _IN_EXTRA:
            require("documents")
        origin: Origin | None
        if kind in {"pdf", "docx"}:
            text, origin = self._process.convert(kind, data)
        else:
            source = decode(data, name)
            if kind in {"csv", "tsv"}:
                text, origin = table_text(source, self.limits, delimiter="\t" if kind == "tsv" else None)
            elif kind == "text":
                self.limits.refuse("characters", len(source), "characters of text")
                text, origin = source, Origin()
                origin.add(0, len(source), 0, len(source))
            else:
                text, origin = self._process.convert(kind, source.encode())
        return Document(name, text, kind, None if kind in _WITHOUT_ORIGIN else origin)


def read_document(path: str | Path, *, name: str | None = None, limits: Limits | None = None) -> Document:
    """Read a file: plain text, Markdown, HTML, PDF, DOCX, CSV or TSV.

    The kind is known by the content where that is certain, as of PDF and DOCX, else by the file's ending; a text
    with another ending is plain text.

    Args:
        path: of the file.
        name: of the document; None: the path.
        limits: what it may cost; None: `Limits()`.

    Raises:
        InputError: it cannot be read, is of another kind, damaged, encrypted, without text, or beyond a limit.
        MissingExtraError: its kind needs the extra `documents`.
    """
    with DocumentReader(limits) as reader:
        return reader.read(path, name=name)


def read_document_bytes(data: bytes, name: str, *, limits: Limits | None = None) -> Document:
    """Read the bytes of a file, such as one that was uploaded; otherwise as `read_document`.

    Args:
        data: the whole file.
        name: of the document; its ending counts.
        limits: what it may cost; None: `Limits()`.

    Raises:
        InputError: see `read_document`.
        MissingExtraError: see `read_document`.
    """
    with DocumentReader(limits) as reader:
        return reader.read_bytes(data, name)
