"""A file that one holder locks at a time, and temporary folders of which the abandoned ones are known.

The lock is `flock`'s: the system drops it when its holder ends, however that ends, and it holds between containers
and hosts that mount the same volume, NFS included. Process numbers are never compared: two containers may have the
same one. On Windows, and on file systems without locks, nothing is locked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BUSY = {errno.EWOULDBLOCK, errno.EACCES}  # the second one is what some network file systems say
_LOOK_EVERY_S = 0.2
_LOCK = "lock"
_ABANDONED_S = 86_400  # of a folder that nobody locked: by its age, since no work takes a day


class LockBusyError(Exception):
    """Somebody else holds a lock; the message says who, and since when."""


@contextlib.contextmanager
def locked(path: Path, *, patience_s: float = 0.0, waiting: Callable[[str], None] | None = None) -> Iterator[bool]:
    """Hold the lock of a file, which exists only meanwhile; its folder is made if it does not exist.

    Args:
        path: the file; it holds one line that says who has the lock.
        patience_s: seconds to wait for another holder.
        waiting: called once, when the wait begins, with who holds it.

    Yields:
        Whether it is locked; False where the system or the file system has no locks.

    Raises:
        LockBusyError: it is not free after `patience_s`.
        OSError: the file cannot be created.
    """
    file = _wait(path, time.monotonic() + patience_s, waiting)
    with file:
        try:
            yield _flock(file) == "locked"  # as it was: who holds a lock gets it again
        finally:
            with contextlib.suppress(OSError):
                path.unlink()  # before the lock is dropped, so that who waits sees a removed file


def _wait(path: Path, deadline: float, waiting: Callable[[str], None] | None) -> TextIO:
    """Return the open file of a lock that is held, or of one that cannot be had on this file system."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)  # the last holder may have removed it
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("a+", encoding="utf-8"))
            busy = _flock(file) == "busy"
            if not busy and _is_at(file, path):
                _sign(file)
                stack.pop_all()
                return file
            if busy and time.monotonic() >= deadline:
                raise LockBusyError(_holder(file))
            if busy and waiting is not None:
                waiting(_holder(file))
                waiting = None
        time.sleep(_LOOK_EVERY_S)


def _flock(file: TextIO) -> str:
    """Lock an open file; return "locked", "busy", or "none" where there are no locks."""
    try:
        import fcntl
    except ImportError:  # on Windows
        return "none"
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return "busy"
        return "none"
    return "locked"


def _is_at(file: TextIO, path: Path) -> bool:
    """Tell whether an open file is the one at a path, and not one that was removed there."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _sign(file: TextIO) -> None:
    """Write into a lock's file who holds it."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    with contextlib.suppress(OSError):  # a full disk: only the name of the holder is lost
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {since}\n")
        file.flush()


def _holder(file: TextIO) -> str:
    """Return who holds a lock, as its file says."""
    file.seek(0)
    line = file.read(200).strip()
    return line if line.isprintable() and line else "another process"


@contextlib.contextmanager
def work_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder for the time of some work, and remove those of killed processes.

    Args:
        parent: its folder; made if it does not exist.
        prefix: how its name begins; all folders of such a name in `parent` are made here.

    Raises:
        OSError: it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for path in parent.glob(f"{prefix}*"):
        if _abandoned(path):
            shutil.rmtree(path, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        # The lock gets its name once it is held: a folder without that name is never taken for an abandoned one.
        with (folder / "new").open("w", encoding="utf-8") as file:
            if _flock(file) == "locked":
                (folder / "new").rename(folder / _LOCK)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    """Tell whether the process that made a work folder has ended."""
    try:
        with (folder / _LOCK).open("r+", encoding="utf-8") as file:
            return _flock(file) == "locked"
    except OSError:
        with contextlib.suppress(OSError):
            return time.time() - folder.stat().st_mtime > _ABANDONED_S
        return False
