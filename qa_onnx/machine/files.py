"""A file -> its bytes: no devices, no folders, no more than a limit, and errors that name the file and the reason.

Bytes -> a file: written whole or not at all.

Pipes and terminals are read too, as `-c <(command)` and `/dev/stdin` are such files; a pipe waits for its writer.
Left out: files of a bundle, which are compared with its manifest (bundle).
"""

from __future__ import annotations

import difflib
import io
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from qa_onnx.errors import InputError, QaOnnxError, escaped, quoted
from qa_onnx.machine.regular_files import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOST_NAMES = 1000  # of a folder in which a similar name is looked for
BUFFER = 1 << 16  # bytes that are read at once, and that show the kind of a file


@contextmanager
def os_errors(kind: type[QaOnnxError], problem: str, *, remedy: str = "") -> Iterator[None]:
    """Turn an error of the operating system into one of the package.

    Args:
        kind: of the new error.
        problem: what failed, with the path; the reason is added, and the path if it is another one.
        remedy: of the new error.
    """
    try:
        yield
    except QaOnnxError:  # some are OSErrors, too
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None and Path(str(error.filename)).name not in problem:
            reason += f": {quoted(str(error.filename))}"
        raise kind(f"{problem}: {reason}", remedy=remedy) from error


def check_path(name: str, path: object) -> None:
    """Refuse an argument that is no path, or one that no file can have: with a NUL, or half of a surrogate pair.

    Raises:
        InputError: it is such an argument.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"{name} is {quoted(path)}; it must be a str or a Path")
    try:
        possible = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise InputError(f"{name} is {quoted(str(path))}, which has characters that no path can have")


def did_you_mean(path: str | Path, fits: Callable[[Path], bool] = Path.exists) -> str:
    """Return "did you mean X?" with a path that exists, much like one that does not; "" if there is none.

    The first name on its way that does not exist is compared with those beside it.

    Args:
        path: what somebody has written.
        fits: tells whether a path is of the kind that is wanted.
    """
    wanted = missing = Path(path)
    try:
        if os.path.lexists(path):
            return ""
        while missing.parent != missing and not missing.parent.exists():
            missing = missing.parent
        with os.scandir(missing.parent) as entries:
            names = [entry.name for entry in islice(entries, _MOST_NAMES)]
        for name in difflib.get_close_matches(missing.name, names, cutoff=0.75):
            found = missing.with_name(name) / wanted.relative_to(missing)
            if fits(found):
                return f"did you mean {escaped(str(found))}?"
    except (OSError, ValueError):  # it may not be read, or is no path at all
        pass
    return ""


class _Source(io.RawIOBase):
    """The bytes of a stream, counted: all that a file had when it was opened, and no more than the limit."""

    def __init__(
        self,
        stream: IO[bytes] | io.RawIOBase,
        name: str,
        *,
        limit: int | None,
        size: int = 0,
        update: Callable[[bytes], object] | None = None,
        owned: bool = False,
    ) -> None:
        self._owned = owned
        self._stream, self._name, self._limit, self._size, self._update = stream, name, limit, size, update
        self._count = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read the next bytes into a buffer and return their number; 0 at the end."""
        with os_errors(InputError, f"cannot read {self._name}"):
            # Of a stream with a buffer, what is there already: an answer does not wait for the next question.
            read = getattr(self._stream, "read1", self._stream.read)
            chunk = read(min(len(buffer), BUFFER)) or b""  # it may reserve all that it is asked for
        self._count += len(chunk)
        if not chunk and self._count < self._size:
            raise InputError(
                f"{self._name} became shorter while it was read: {self._size:,} bytes, then {self._count:,}",
                remedy="wait until it is written, and try again",
            )
        if self._limit is not None and self._count > self._limit:
            raise _too_large(self._name, f"more than {self._limit:,}", self._limit)
        if self._update is not None:
            self._update(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        """Close the stream too, if it was opened here."""
        if self._owned:
            self._stream.close()
        super().close()


def open_file(
    path: str | Path,
    *,
    limit: int | None = None,
    name: str | None = None,
    update: Callable[[bytes], object] | None = None,
) -> io.BufferedReader[_Source]:
    """Open a file to read its bytes.

    Args:
        path: of a regular file, a pipe, a terminal or the null device.
        limit: most bytes that are read; None: it is read as a stream, and may be of any size.
        name: what errors call it; None: the path.
        update: called with the bytes that are read, in their order.

    Raises:
        InputError: it is another kind of file, is missing, cannot be read, or is too large; or later, while it is
            read: a pipe is too large, or the file became shorter.
    """
    name = str(path) if name is None else name
    with os_errors(InputError, f"cannot read {name}"):
        check_path("path", path)
        _refuse_kind(os.stat(path), name)  # noqa: PTH116  # before it is opened: some devices notice
        file = io.FileIO(path)
        try:
            found = os.fstat(file.fileno())
            _refuse_kind(found, name)
            size = found.st_size if stat.S_ISREG(found.st_mode) else 0
            if limit is not None and size > limit:
                raise _too_large(name, f"{size:,}", limit)
        except BaseException:
            file.close()
            raise
    return io.BufferedReader(_Source(file, name, limit=limit, size=size, update=update, owned=True), BUFFER)


def open_stream(
    stream: IO[bytes], name: str, *, limit: int | None = None, update: Callable[[bytes], object] | None = None
) -> io.BufferedReader[_Source]:
    """Read a stream that is open, such as standard input, with the limits and errors of `open_file`."""
    return io.BufferedReader(_Source(stream, name, limit=limit, update=update), BUFFER)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that gets its name when all of it is on the disk; an older one stays until then.

    Until then its name is `.<name>.<16 hexadecimal digits>.partial`. The caller has to remove what a process that
    was killed leaves under such a name.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _refuse_kind(found: os.stat_result, name: str) -> None:
    """Refuse what holds no bytes of its own, or has no end."""
    mode = found.st_mode
    if stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and _is_harmless(found.st_rdev)):
        return
    raise InputError(f"cannot read {name}: it is {kind_of(mode)}", remedy="name a file, or a pipe")


def _is_harmless(device: int) -> bool:
    """Return whether a device is the null device, which is empty, or the terminal of a standard stream."""
    known: list[str | int] = [os.devnull, *(stream for stream in range(3) if os.isatty(stream))]
    return any(os.stat(one).st_rdev == device for one in known)  # noqa: PTH116


def _too_large(name: str, count: str, limit: int) -> InputError:
    return InputError(f"{name} has {count} bytes; the limit is {limit:,}", remedy="split it")
