"""A shared library -> names of the libraries that it needs, without loading it.

They stand in its ELF headers (System V ABI, "Program Loading" and "Dynamic Linking"). Loading the library would
run its constructors as well. Left out: 32 bits, other byte orders, other formats.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little endian
_LOAD, _DYNAMIC = 1, 2  # types of segments
_NEEDED, _STRINGS = 1, 5  # tags of dynamic entries
_NAME = 256  # bytes
_MOST = 1 << 20  # bytes of dynamic entries


class _Segment(NamedTuple):
    """A program header: a piece of the file, and where it comes to be in memory."""

    kind: int
    offset: int
    address: int
    size: int


def needed_by(library: Path) -> list[str]:
    """Names of the libraries that the loader looks for when it loads this one, in order.

    Returns:
        None of them where the file is not there, or is no ELF file of 64 bits.
    """
    try:
        with library.open("rb") as file:
            return _needed(file)
    except (OSError, struct.error):
        return []


def _needed(file: BinaryIO) -> list[str]:
    header = file.read(64)
    if not header.startswith(_MAGIC):
        return []
    segments = _segments(file, header)
    entries: list[tuple[int, int]] = []
    for segment in segments:
        if segment.kind == _DYNAMIC:
            file.seek(segment.offset)
            content = file.read(min(segment.size, _MOST))
            entries += struct.iter_unpack("<qQ", content[: len(content) // 16 * 16])
    strings = next((value for tag, value in entries if tag == _STRINGS), 0)
    names = []
    for tag, value in entries:
        if tag == _NEEDED:
            file.seek(_offset(segments, strings) + value)
            names.append(file.read(_NAME).partition(b"\0")[0].decode(errors="replace"))
    return names


def _segments(file: BinaryIO, header: bytes) -> list[_Segment]:
    (table,) = struct.unpack_from("<Q", header, 32)
    size, count = struct.unpack_from("<HH", header, 54)
    file.seek(table)
    rows = [struct.unpack_from("<II6Q", file.read(size)) for _ in range(count)]
    return [_Segment(kind, offset, address, length) for kind, _, offset, address, _, length, *_ in rows]


def _offset(segments: list[_Segment], address: int) -> int:
    """Where in the file an address is."""
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
            return segment.offset + address - segment.address
    return address
