"""Names of a bundle's files -> their bytes, read once, with the size and SHA-256 that the manifest says.

A folder and a packed bundle are read through one interface, so that nothing else knows which it is.
Left out: the layout of a packed bundle (packed.py), and the manifest (manifest.py).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from qa_onnx.bundle.repair import how_to_repair, why_no_bundle
from qa_onnx.errors import BundleError
from qa_onnx.machine.regular_files import LinkError, NotRegularError, open_inside, read_exactly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from qa_onnx.bundle.manifest import FileEntry

MANIFEST = "bundle.json"
SIGNATURE = "bundle.sig"
MANIFEST_LIMIT = 4 << 20  # bytes
SIGNATURE_LIMIT = 1 << 12  # bytes; it has about 320
# Bytes of a file by its kind. The largest multilingual tokenizers have some 35 MB, protocol buffers end at 2 GiB,
# and 64 GiB are hashed in a minute or two, also where the file takes no room on the disk.
LIMITS = {"tokenizer": 256 << 20, "golden": 256 << 20, "model": 2 << 30, "weights": 64 << 30}

_PIECE = 4 << 20  # bytes


class BundleFiles(Protocol):
    """The files of a bundle, wherever they are."""

    @property
    def path(self) -> Path:
        """Where the bundle is."""

    def holds(self, name: str) -> bool:
        """Return whether there is something of this name."""

    def open(self, name: str) -> AbstractContextManager[tuple[BinaryIO, int]]:
        """Open a file, to read as many bytes as its size, and no more.

        Raises:
            BundleError: it is missing, no regular file, or cannot be read.
        """


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of a bundle in a folder; see `BundleFiles`."""

    path: Path

    def holds(self, name: str) -> bool:
        """See `BundleFiles.holds`."""
        return os.path.lexists(self.path / name)

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        """See `BundleFiles.open`. A link is followed inside of the folder, or of the hub's cache, only."""
        path = self.path / name
        try:
            with open_inside(self.path, name) as opened:
                yield opened
        except NotRegularError as error:
            raise BundleError(f"{path} is {error.kind}, not a file", remedy=how_to_repair(self.path)) from error
        except LinkError as error:
            raise BundleError(str(error), remedy="copy the file into the folder") from error
        except FileNotFoundError as error:
            raise BundleError(f"{path} is missing", remedy=how_to_repair(self.path)) from error
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error


def read_bounded(files: BundleFiles, name: str, limit: int) -> bytes:
    """Return a file of which the manifest says nothing; BundleError: it has more than `limit` bytes."""
    with files.open(name) as (file, size):
        if size > limit:
            raise BundleError(f"{files.path / name} has {size:,} bytes; the limit is {limit:,}")
        return read_exactly(file, size)


def files_of(path: Path) -> BundleFiles:
    """Return the files of the bundle at a path: a folder, or a packed one."""
    if path.is_file():
        from qa_onnx.bundle.packed import PackedFiles

        return PackedFiles(path)
    return FolderFiles(path)


def manifest_bytes(path: Path) -> bytes:
    """Return the content of the bundle.json of a bundle.

    Raises:
        BundleError: there is none, or it is too large to be one.
    """
    if not path.is_file() and not (path / MANIFEST).exists():
        reason, remedy = why_no_bundle(path, MANIFEST)
        raise BundleError(f"{path} is not a bundle: {reason}", remedy=remedy)
    return read_bounded(files_of(path), MANIFEST, MANIFEST_LIMIT)


def manifest_sha256(path: Path) -> str:
    """Return the SHA-256, in hexadecimal, of the bundle.json of a bundle; BundleError: see `manifest_bytes`."""
    return hashlib.sha256(manifest_bytes(path)).hexdigest()


@contextmanager
def opened(files: BundleFiles, entry: FileEntry) -> Iterator[BinaryIO]:
    """Open a file that has the size that the manifest says.

    Raises:
        BundleError: it has another one, or one above the limit; or see `BundleFiles.open`.
    """
    limit = LIMITS[entry.name.partition("-")[0]]
    if entry.size > limit:
        raise BundleError(f"{entry.name} has {entry.size} bytes; the limit is {limit}")
    with files.open(entry.name) as (file, size):
        if size != entry.size:
            problem = (
                f"{files.path / entry.name} has {size} bytes, {MANIFEST} says {entry.size}: it was cut or changed"
            )
            raise BundleError(problem, remedy=how_to_repair(files.path))
        yield file


def read(files: BundleFiles, entry: FileEntry) -> bytes:
    """Return the content of a file.

    Raises:
        BundleError: its size or SHA-256 is wrong.
    """
    with opened(files, entry) as file:
        content = _read(files, entry, file, entry.size)
    _compare(files, entry, hashlib.sha256(content).hexdigest())
    return content


def check(files: BundleFiles, entry: FileEntry, *, then: Callable[[bytes], object] | None = None) -> None:
    """Check the content of a file, in pieces.

    Args:
        files: of the bundle.
        entry: what the manifest says of it.
        then: called with each piece that was read; what it did counts only if no error follows.

    Raises:
        BundleError: its size or SHA-256 is wrong.
    """
    digest = hashlib.sha256()
    with opened(files, entry) as file:
        for start in range(0, entry.size, _PIECE):
            piece = _read(files, entry, file, min(_PIECE, entry.size - start))
            digest.update(piece)
            if then is not None:
                then(piece)
    _compare(files, entry, digest.hexdigest())


def _read(files: BundleFiles, entry: FileEntry, file: BinaryIO, size: int) -> bytes:
    try:
        return read_exactly(file, size)
    except OSError as error:
        reason = error.strerror or error
        raise BundleError(f"{files.path / entry.name} cannot be read: {reason}") from error


def _compare(files: BundleFiles, entry: FileEntry, sha256: str) -> None:
    if sha256 != entry.sha256:
        raise BundleError(
            f"{files.path / entry.name} was changed or damaged: its SHA-256 is {sha256}, {MANIFEST} says "
            f"{entry.sha256}",
            remedy=how_to_repair(files.path),
        )
