"""Bytes of protocol buffers -> the fields of a message, without copying what they hold.

Stricter than the libraries that engines use, so that no engine can see something else in the same bytes: a field
that the message does not have, another wire type than the field's, a second value of a field that has one, and a
group are errors. Source: the page "Encoding" of protocol buffers' documentation.

Left out: what messages an ONNX file has (onnx_reader.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Wire types.
INTEGER, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_WIDTH = {FIXED64: 8, FIXED32: 4}
_LONGEST = 10  # bytes of an integer
_NOT_LAST = bytes(range(0x80, 0x100))  # the bytes of an integer that is not over


@dataclass(frozen=True, slots=True)
class Message:
    """A kind of message.

    Attributes:
        name: for errors.
        single: wire type of each field that has one value, by number.
        repeated: wire type of each field that has any number of them. Numbers may also be packed.
    """

    name: str
    single: Mapping[int, int]
    repeated: Mapping[int, int]


class WireError(ValueError):
    """The bytes are not a message of the kind."""


def integer(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the integer that begins at a position, as 64 bits without sign, and the position behind it.

    Raises:
        WireError: it does not end before `end`, or has more than 10 bytes.
    """
    value = shift = 0
    for position in range(at, min(end, at + _LONGEST)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position + 1
        shift += 7
    raise WireError(f"the integer at byte {at:,} does not end")


def signed(value: int) -> int:
    """Return 64 bits as a number with a sign."""
    return value - (1 << 64) if value >> 63 else value


def integers(data: bytes, start: int, end: int) -> list[int]:
    """Return packed integers, with their signs."""
    values = []
    while start < end:
        value, start = integer(data, start, end)
        values.append(signed(value))
    return values


def count_integers(data: bytes, start: int, end: int) -> int:
    """Return how many packed integers lie between two positions, without reading them."""
    return len(data[start:end].translate(None, _NOT_LAST))


def parse(message: Message, data: bytes, start: int, end: int) -> dict[int, Any]:
    """Return the fields of the message between two positions.

    Args:
        message: what may be there.
        data: the whole file.
        start: the first byte.
        end: the one behind the last.

    Returns:
        By number: an integer, or (start, end) of what the field holds; a list of them for a repeated field, in
        which packed numbers are one (start, end). Fields that are not there are left out.

    Raises:
        WireError: the bytes are not such a message.
    """
    found: dict[int, Any] = {}
    single, repeated = message.single, message.repeated
    while start < end:
        tag, at = (data[start], start + 1) if data[start] < 0x80 else integer(data, start, end)
        number, kind = tag >> 3, tag & 7
        once = number in single
        wanted = single[number] if once else repeated.get(number)
        packed = kind == BYTES and not once
        if wanted is None or (kind != wanted and not packed):
            raise WireError(f"field {number} of type {kind} at byte {start:,} is none of a {message.name}")
        value: Any
        if kind == INTEGER:
            value, at = integer(data, at, end)
        else:
            if kind != BYTES:
                length = _WIDTH[kind]
            elif at < end and data[at] < 0x80:  # most are short
                length, at = data[at], at + 1
            else:
                length, at = integer(data, at, end)
            if length > end - at:
                raise WireError(f"the {message.name} at byte {start:,} is cut off")
            value, at = (at, at + length), at + length
        if not once:
            found.setdefault(number, []).append(value)
        elif number in found:
            raise WireError(f"field {number} of a {message.name} is there twice, again at byte {start:,}")
        else:
            found[number] = value
        start = at
    return found
