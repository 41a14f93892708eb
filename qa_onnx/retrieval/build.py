"""Documents -> an index in a folder; what the folder's index knows already is copied from it.

A build that fails or is killed at any moment leaves the old index as it was, and the next one removes what it
left. One build at a time: a second one is refused. Left out: the files themselves (storage.py).
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from qa_onnx.errors import InputError, shown
from qa_onnx.machine.files import check_path, os_errors, replacing
from qa_onnx.machine.locks import LockBusyError, locked, work_folder
from qa_onnx.machine.packages import require
from qa_onnx.retrieval.content import collect
from qa_onnx.retrieval.storage import (
    FORMAT,
    GENERATION,
    MANIFEST,
    IndexManifest,
    read_index,
    read_manifest,
    write_generation,
)
from qa_onnx.retrieval.terms import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qa_onnx.documents.document import Document
    from qa_onnx.retrieval.content import IndexContent, LazyDocument, OnProblem

_LOCK = "lock"
_WORK = ".build-"


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a build did.

    Attributes:
        documents: of the index now.
        passages: of the index now.
        copied: documents that the old index had with the same hash.
        removed: documents that the old index had, and this one has not, by their names.
        bytes: of all files; 0: the index had just these documents, and nothing was written.
        warning: why nothing could be copied from the old index; empty: there was none, or it is whole.
    """

    documents: int
    passages: int
    copied: int
    removed: int
    bytes: int
    warning: str = ""


def build_index(
    documents: Iterable[Document | LazyDocument], folder: str | Path, *, on_problem: OnProblem | None = None
) -> IndexReport:
    """Build an index, or bring one up to date.

    Args:
        documents: all that the index shall have; those that it has and that are missing here leave it.
        folder: of the index; made if it does not exist. One with other files in it is refused.
        on_problem: see `collect`.

    Raises:
        InputError: see `PassageIndex.of`; or the folder cannot be written, is in use by another build, or holds
            something else.
        MissingExtraError: bm25s is not installed.
    """
    require("search")
    check_path("the folder of an index", folder)
    folder = Path(folder)
    name = shown(str(folder))
    writing = partial(os_errors, InputError, f"cannot write the index {name}")
    with ExitStack() as stack:
        try:
            with writing():
                _refuse_other_files(folder)
                stack.enter_context(locked(folder / _LOCK))
                work = stack.enter_context(work_folder(folder, _WORK))
        except LockBusyError as error:
            raise InputError(f"the index {name} is being built by {error}", remedy="wait for it") from error
        old, warning = _old(folder)
        # An error of a document's file keeps its own words.
        content, copied = collect(documents, old, on_problem=on_problem)
        with writing():
            size = 0 if content is old else _replace(content, folder, work)
            _remove_others(folder)
    removed = _names(old) - _names(content)
    return IndexReport(len(content.documents), len(content.starts), copied, len(removed), size, warning)


def _refuse_other_files(folder: Path) -> None:
    """Refuse a folder that holds something, and no index: its name may be a mistake."""
    if not folder.is_dir() or (folder / MANIFEST).exists():
        return
    own = (_LOCK, _WORK, "generation-")
    other = next((path.name for path in folder.iterdir() if not path.name.startswith(own)), None)
    if other is not None:
        raise InputError(
            f"{shown(str(folder))} holds {shown(other)}, and is no index", remedy="name a new or an empty folder"
        )


def _old(folder: Path) -> tuple[IndexContent | None, str]:
    """Return the content of the folder's index, or None and why it cannot be read."""
    if not (folder / MANIFEST).exists():
        return None, ""
    try:
        return read_index(folder)[0], ""
    except InputError as error:
        return None, error.problem


def _names(content: IndexContent | None) -> set[str]:
    return {document.name for document in content.documents} if content else set()


def _replace(content: IndexContent, folder: Path, work: Path) -> int:
    """Put a new generation in place; return its size in bytes."""
    generation = f"generation-{secrets.token_hex(8)}"
    files = write_generation(work / generation, content)
    manifest = msgspec.json.format(
        msgspec.json.encode(IndexManifest(FORMAT, VERSION, generation, files)), indent=1
    )
    with replacing(work / MANIFEST) as file:
        file.write(manifest + b"\n")
    _sync(work / generation)
    (work / generation).rename(folder / generation)
    _sync(folder)  # else a power cut could keep the manifest and lose what it names
    (work / MANIFEST).replace(folder / MANIFEST)
    _sync(folder)
    return sum(entry.bytes for entry in files.values())


def _remove_others(folder: Path) -> None:
    """Remove all generations but the current one: the old one, and those of builds that were killed."""
    current = read_manifest(folder).generation
    for path in folder.iterdir():
        if GENERATION.fullmatch(path.name) and path.name != current:
            shutil.rmtree(path, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Bring the names of a folder's files to the disk, where the system can do that."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
