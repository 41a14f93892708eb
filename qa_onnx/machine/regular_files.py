"""Open a file of which only the content is wanted: a regular one, at once, and inside of its folder."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

# A named pipe would make `open` wait for a writer. Windows has neither those nor these flags.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


class NotRegularError(OSError):
    """A path is a folder, named pipe, socket, device or link; `kind` says which."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(f"{path} is {kind}, not a file")
        self.kind = kind


class LinkError(OSError):
    """A path is a link that may not be followed; `target` is where it leads to."""

    def __init__(self, path: Path, target: Path, home: Path) -> None:
        super().__init__(f"{path} is a link to {target}, outside of {home}")
        self.target = target


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file to read, without following a link at the end of its path, and without waiting.

    Yields:
        The file, without a buffer of its own, and its size in bytes.

    Raises:
        NotRegularError: it is something else.
        OSError: it does not exist, or may not be read.
    """
    kind = kind_of(path.lstat().st_mode)
    if kind:  # a device may do something when it is opened
        raise NotRegularError(path, kind)
    with open(os.open(path, _FLAGS), "rb", buffering=0) as file:  # noqa: PTH123  # of a descriptor
        status = os.fstat(file.fileno())
        if kind := kind_of(status.st_mode):
            raise NotRegularError(path, kind)
        yield file, status.st_size


@contextmanager
def open_inside(folder: Path, name: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file of a folder; see `inside` and `open_regular`.

    Raises:
        LinkError: it is a link that leads out of there.
        NotRegularError: see `open_regular`.
        OSError: see `open_regular`.
    """
    with open_regular(inside(folder, name)) as opened:
        yield opened


def inside(folder: Path, name: str) -> Path:
    """Return where the content of a file of a folder is: its own path, or where its link leads to.

    A link is followed where its target lies in the same folder; in the cache of the hub, in the same repository,
    or among the contents that repositories share. So no other file is read in place of the folder's own.

    Raises:
        LinkError: it is a link that leads out of there.
    """
    path = folder / name
    if not path.is_symlink():
        return path
    target, repository = real(path), hub_cache_of(folder)
    home = real(repository or folder)
    shared = repository and real(repository.parent / "blobs")  # of huggingface_hub 2
    if not (target.is_relative_to(home) or (shared and target.is_relative_to(shared))):
        raise LinkError(path, target, home)
    return target


def read_start(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """Return at most so many bytes of a regular file, from its start, and its status.

    A link is followed, as the caller's user named the file; a named pipe is not waited for.

    Raises:
        NotRegularError: it is a named pipe, socket or device.
        OSError: it does not exist, is a folder, or may not be read.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if kind := kind_of(status.st_mode):
            raise NotRegularError(path, kind)
        return file.read(most), status


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the content of a small regular file; see `read_start`.

    Raises:
        ValueError: it has more than `limit` bytes.
        OSError: see `read_start`.
    """
    data, _ = read_start(path, limit + 1)
    if len(data) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return data


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def real(path: Path) -> Path:
    """Return where a path leads to; one that leads nowhere, in a circle of links, stays a link."""
    return Path(os.path.realpath(path))  # `Path.resolve` raises a RuntimeError for a circle before Python 3.13


def hub_cache_of(folder: Path) -> Path | None:
    """Return the folder of a repository in the hub's cache that a folder belongs to; None: to none.

    It is a snapshot, or a folder in one, such as `onnx`.
    """
    return next((one.parents[1] for one in (folder, folder.parent) if one.parent.name == "snapshots"), None)


def kind_of(mode: int) -> str:
    """Return what a file of this mode is; "": a regular one."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """Return the next bytes of a file; OSError: it has less than `size`."""
    parts = []
    while size:
        part = file.read(min(size, 1 << 30))  # Linux reads at most 2 GiB at once
        if not part:
            raise OSError("it was cut while it was read")
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
