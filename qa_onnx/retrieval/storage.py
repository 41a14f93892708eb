"""An index as a folder: written whole or not at all, and checked when it is opened.

    index.json                the manifest: names the generation, with the size and hash of each of its files
    generation-0123456789abcdef/
        documents.json        name, hash and number of passages of each document
        vocabulary.txt        terms in their order, one a line
        texts.bin             UTF-8
        *.npy                 the arrays of `IndexContent` and `TermScores`, without pickles

A build writes a new generation beside the old one and then replaces the manifest, in one step of the file system.
An index that is open has all files of its generation mapped, so it does not notice; on Windows, where a mapped
file cannot be removed, the next build removes it. The texts are stored too: an index answers where its documents
are not, and places in it cannot point into a file that was changed.

All files are untrusted: sizes and hashes are checked here, types, shapes and offsets in checks.py, before anything
is answered. Not guarded: a program that shortens a file while it is mapped, which the system ends with a signal.
Left out: what the content means (content.py), and when it is written (build.py).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from qa_onnx.errors import InputError, quoted, shown
from qa_onnx.machine.files import check_path, os_errors
from qa_onnx.machine.regular_files import open_regular, read_bounded
from qa_onnx.retrieval.checks import ARRAYS, content_of
from qa_onnx.retrieval.terms import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import FileIO

    from numpy.typing import NDArray

    from qa_onnx.retrieval.content import IndexContent

MANIFEST = "index.json"
FORMAT = 1
GENERATION = re.compile(r"generation-[0-9a-f]{16}")
_LARGEST_MANIFEST = 1 << 16
_LARGEST_LIST = 1 << 28  # bytes of documents.json and vocabulary.txt, which are read into memory
_LARGEST_FILE = 1 << 35  # bytes of the others, which are mapped
_ATTEMPTS = 10  # to open an index while it is built again and again
_REMEDY = "build the index again"

_FILES = {"documents.json", "vocabulary.txt", "texts.bin", *(f"{name}.npy" for name in ARRAYS)}


class IndexFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size in bytes, and SHA-256 in hexadecimal, of a file of an index."""

    bytes: int
    sha256: str


class IndexManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What index.json holds.

    Attributes:
        format: of the folder.
        terms: version of the rule that makes terms of a text.
        generation: name of the folder with the files.
        files: by their names.
    """

    format: int
    terms: int
    generation: str
    files: dict[str, IndexFile]


class _Version(msgspec.Struct):
    """The part of a manifest that all formats have."""

    format: int


def read_index(folder: str | Path) -> tuple[IndexContent, Path]:
    """Open the index of a folder.

    Returns:
        Its content, in mapped files, and the folder.

    Raises:
        InputError: there is none, it is damaged, or a newer release wrote it.
    """
    check_path("the folder of an index", folder)
    folder = Path(folder)
    manifest = read_manifest(folder)
    for _ in range(_ATTEMPTS):
        try:
            return _opened(folder, manifest), folder
        except InputError:
            before, manifest = manifest, read_manifest(folder)
            if manifest.generation == before.generation:  # else it was built again meanwhile
                raise
    raise InputError(f"the index {shown(str(folder))} changes all the time", remedy="try again later")


def read_manifest(folder: Path) -> IndexManifest:
    """Return the manifest of an index; InputError: there is none, or it is not one that this release reads."""
    path = folder / MANIFEST
    name = shown(str(path))
    try:
        with os_errors(InputError, f"cannot read {name}", remedy="build the index first"):
            data = read_bounded(path, _LARGEST_MANIFEST)
        version = msgspec.json.decode(data, type=_Version).format
        if version > FORMAT:
            raise InputError(f"{name} has the format {version}, and this release reads {FORMAT}", remedy=_REMEDY)
        manifest = msgspec.json.decode(data, type=IndexManifest)
        if not GENERATION.fullmatch(manifest.generation) or manifest.files.keys() != _FILES:
            raise ValueError("it does not name the files of an index")
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise InputError(f"{name} is damaged: {error}", remedy=_REMEDY) from error
    if (manifest.format, manifest.terms) != (FORMAT, VERSION):
        raise InputError(f"{name} was written by another release", remedy=_REMEDY)
    return manifest


def _opened(folder: Path, manifest: IndexManifest) -> IndexContent:
    """Map and check all files of a generation."""
    home = folder / manifest.generation
    if home.is_symlink():
        raise InputError(f"{shown(str(home))} is a link", remedy=_REMEDY)
    files = {name: _mapped(home / name, entry) for name, entry in manifest.files.items()}
    try:
        content = content_of(files)
    except (ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"the index {shown(str(folder))} is damaged: {error}", remedy=_REMEDY) from error
    return content


def _mapped(path: Path, entry: IndexFile) -> memoryview:
    """Return the bytes of a file, mapped, after its size and hash were compared."""
    name = shown(str(path))
    limit = _limit_of(path)
    with os_errors(InputError, f"cannot read {name}", remedy=_REMEDY), open_regular(path) as (file, size):
        if size != entry.bytes or size > limit:
            raise InputError(
                f"{name} has {size:,} bytes; the index says {quoted(entry.bytes)}, and the limit is {limit:,}",
                remedy=_REMEDY,
            )
        if hashlib.file_digest(cast("FileIO", file), "sha256").hexdigest() != entry.sha256:
            raise InputError(f"{name} is damaged: its hash is not that of the index", remedy=_REMEDY)
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")


def write_generation(home: Path, content: IndexContent) -> dict[str, IndexFile]:
    """Write all files of a generation into a new folder, and return what the manifest says of them.

    Raises:
        OSError: they cannot be written.
    """
    home.mkdir()
    scores = content.scores
    arrays: Mapping[str, NDArray[Any]] = {
        "starts": content.starts,
        "text_bounds": content.text_bounds,
        "terms": content.terms,
        "term_bounds": content.term_bounds,
        "score_values": scores.values,
        "score_passages": scores.passages,
        "score_columns": scores.columns,
    }
    words = "".join(f"{word}\n" for word in content.vocabulary)
    blobs: dict[str, bytes | memoryview[int]] = {
        "documents.json": msgspec.json.encode(content.documents),
        "vocabulary.txt": words.encode("utf-8", "surrogatepass"),
        "texts.bin": content.texts,
    }
    for name, array in arrays.items():
        with (home / f"{name}.npy").open("xb") as file:
            np.lib.format.write_array(file, array.astype(ARRAYS[name], copy=False), (1, 0), allow_pickle=False)
    for name, blob in blobs.items():
        with (home / name).open("xb") as file:
            file.write(blob)
    return {name: _described(home / name) for name in sorted(_FILES)}


def _described(path: Path) -> IndexFile:
    """Return size and hash of a file, which then is on the disk; InputError: it is too large to be opened."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        if size > _limit_of(path):
            raise InputError(
                f"{path.name} of the index has {size:,} bytes; the limit is {_limit_of(path):,}",
                remedy="make several indexes",
            )
        return IndexFile(size, hashlib.file_digest(file, "sha256").hexdigest())


def _limit_of(path: Path) -> int:
    return _LARGEST_FILE if path.suffix in (".npy", ".bin") else _LARGEST_LIST
