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
from qa_onnx.errors import InputError, QaOnnxError, shown, with_name
from qa_onnx.machine.files import open_file, open_stream
from qa_onnx.retrieval.content import LazyDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qa_onnx.retrieval.content import OnProblem


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
    report = unless_named(paths)
    with DocumentReader() as reader:
        for path in find_documents(paths, on_problem=_warn_of):
            try:
                yield reader.read(path)
            except QaOnnxError as error:
                report(str(path), error)


@contextmanager
def found_documents(paths: Sequence[str]) -> Iterator[Iterator[LazyDocument]]:
    """Open the same documents for an index, which reads only those whose hash it does not know.

    Raises:
        InputError: a path does not exist, or a file that is named cannot be opened.
    """
    report = unless_named(paths)
    with DocumentReader() as reader:
        found = find_documents(paths, on_problem=_warn_of)
        yield (document for path in found if (document := _lazy(reader, path, report)))


def _lazy(reader: DocumentReader, path: Path, report: OnProblem) -> LazyDocument | None:
    name = str(path)
    try:
        with open_file(path, limit=reader.limits.file_bytes, name=shown(name)) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except InputError as error:
        report(name, error)
        return None
    return LazyDocument(name, digest, partial(_text, reader, path))


def _warn_of(path: Path, error: OSError) -> None:
    warn(f"{shown(str(path))}: {error}")


def _text(reader: DocumentReader, path: Path) -> str:
    return reader.read(path).text


def unless_named(paths: Sequence[str]) -> OnProblem:
    """Return what warns of a document that cannot be read and is left out; of one that is named, it raises."""
    named = set(map(Path, paths))  # "./a.pdf" is "a.pdf"

    def report(name: str, error: QaOnnxError) -> None:
        if Path(name) in named:
            raise error
        warn(str(with_name(name, error)))

    return report


def warn(message: str) -> None:
    """Print a warning on stderr."""
    click.echo(f"warning: {message}", err=True)
