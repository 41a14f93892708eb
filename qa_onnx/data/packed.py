"""Bytes of a file -> the bytes inside: gzip and Zstandard are unpacked as they are read, up to a limit.

Left out: other archives, which file_kinds names.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import InputError
from qa_onnx.machine.files import BUFFER
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 1 << 30  # of what is read at once: a file for `load`, a document, a line, all that a packed file holds


def unpacked(source: io.BufferedReader[Any], *, bounded: bool = True) -> io.BufferedReader[Any]:
    """Return the stream inside a packed one, or the stream itself.

    Args:
        source: the bytes of a file, from the start.
        bounded: whether a packed stream may hold no more than `MAX_BYTES`; False where no more than a line of it
            is kept in memory.

    Raises:
        MissingExtraError: it is Zstandard, and the extra `data` is not installed.
        InputError: while the stream is read: it is damaged, or holds too much.
    """
    head = source.peek(4)[:4]
    for signature, (name, unpack) in _PACKINGS.items():
        if head.startswith(signature):
            return io.BufferedReader(_Bounded(unpack(source), name, MAX_BYTES if bounded else None), BUFFER)
    return source


def _unpack_gzip(source: io.BufferedReader[Any]) -> io.BufferedIOBase:
    return gzip.GzipFile(fileobj=source)


def _unpack_zstandard(source: io.BufferedReader[Any]) -> io.BufferedIOBase:
    require("data")
    import pyarrow

    stream: io.BufferedIOBase = pyarrow.CompressedInputStream(source, "zstd")  # has `read`, which is all it needs
    return stream


_PACKINGS: dict[bytes, tuple[str, Callable[[io.BufferedReader[Any]], io.BufferedIOBase]]] = {
    b"\x1f\x8b": ("gzip", _unpack_gzip),
    b"\x28\xb5\x2f\xfd": ("Zstandard", _unpack_zstandard),
}


class _Bounded(io.RawIOBase):
    """What a packed stream holds, so that a small file cannot fill the memory."""

    def __init__(self, stream: io.BufferedIOBase, packing: str, limit: int | None) -> None:
        self._stream = stream
        self._packing = packing
        self._limit = limit
        self._count = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Unpack the next bytes into a buffer and return their number; 0 at the end."""
        try:
            chunk = self._stream.read(len(buffer))
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(
                f"damaged {self._packing} after {self._count} bytes ({error})", remedy="fetch it again"
            ) from error
        self._count += len(chunk)
        if self._limit is not None and self._count > self._limit:
            raise InputError(f"it unpacks to more than {self._limit} bytes", remedy="split the file")
        buffer[: len(chunk)] = chunk
        return len(chunk)
