"""Paths of a command -> documents: files, folders, patterns and standard input.

A file that the user names has to be readable. What cannot be read inside of a folder is named on stderr and left
out, so that one damaged file does not hide the others.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qa_onnx.cli import batch
from qa_onnx.documents import Document, DocumentReader, Limits, find_documents
from qa_onnx.errors import InputError, QaOnnxError, shown
from qa_onnx.machine.files import open_file, open_stream, os_errors
from qa_onnx.retrieval.content import LazyDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def is_file(path: str) -> bool:
    """Return whether a path is that of a file, and no folder or pattern."""
    try:
        return Path(path).exists() and not Path(path).is_dir()
    except (OSError, ValueError):  # too long for a file name, or with an invalid character
        return False


def read_files(names: Iterable[str]) -> list[Document]:
    """Read files, "-" for standard input, and warn of NUL characters, which are a sign of a binary file.

    Raises:
        InputError: one cannot be read.
    """
    limit = Limits().file_bytes
    documents = []
    with DocumentReader() as reader:
        for name in names:
            if name == "-":
                with open_stream(batch.stdin(), "standard input", limit=limit) as stream:
                    document = reader.read_bytes(stream.read(), "stdin")
            else:
                document = reader.read(name)
            if zeros := document.text.count("\0"):
                warn(
                    f"{shown(document.name)} has {zeros:,} NUL character{'s' * (zeros > 1)}, which no text has: "
                    "is it part of a binary file?"
                )
            documents.append(document)
    return documents


def read_found(paths: Sequence[str]) -> Iterator[Document]:
    """Read the documents of files, folders and patterns, one after the other.

    Raises:
        InputError: a path does not exist, or a file that is named cannot be read.
    """
    with DocumentReader() as reader:
        for path in find_documents(paths, on_problem=_warn_of):
            try:
                yield reader.read(path)
            except QaOnnxError as error:
                if str(path) in paths:
                    raise
                left_out(str(path), error)


@contextmanager
def found_documents(paths: Sequence[str]) -> Iterator[Iterator[LazyDocument]]:
    """Open the same documents for an index, which reads only those whose hash it does not know.

    Raises:
        InputError: a path does not exist, or a file that is named cannot be read.
    """
    with DocumentReader() as reader:
        found = find_documents(paths, on_problem=_warn_of)
        yield (document for path in found if (document := _lazy(reader, path, is_named=str(path) in paths)))


def _lazy(reader: DocumentReader, path: Path, *, is_named: bool) -> LazyDocument | None:
    name = str(path)
    try:
        with (
            os_errors(InputError, f"cannot read {shown(name)}"),
            open_file(path, limit=reader.limits.file_bytes, name=shown(name)) as file,
        ):
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except InputError as error:
        if is_named:
            raise
        warn(str(error))
        return None
    return LazyDocument(name, digest, partial(_text, reader, path))


def _warn_of(path: Path, error: OSError) -> None:
    warn(f"{shown(str(path))}: {error}")


def _text(reader: DocumentReader, path: Path) -> str:
    return reader.read(path).text


def left_out(name: str, error: QaOnnxError) -> None:
    """Warn of a document that cannot be read and is left out."""
    problem = str(error)
    warn(problem if shown(name) in problem else f"{shown(name)}: {problem}")


def warn(message: str) -> None:
    """Print a warning on stderr."""
    click.echo(f"warning: {message}", err=True)
