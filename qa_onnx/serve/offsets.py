"""Positions in characters -> positions in UTF-8 bytes or UTF-16 units.

Python counts code points, C and Rust count bytes, JavaScript, Java and C# count UTF-16 units; an emoji is one,
four and two of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

OffsetUnit: TypeAlias = Literal["character", "utf8", "utf16"]

_CODECS = {"utf8": ("utf-8", 1), "utf16": ("utf-16-le", 2)}


def convert(text: str, positions: Iterable[int], unit: OffsetUnit) -> dict[int, int]:
    """Convert positions to a unit, in one pass over the text.

    Args:
        text: without lone surrogates.
        positions: in characters, 0 to len(text).
        unit: of the result.
    """
    wanted = sorted(set(positions))
    if unit == "character" or text.isascii():
        return {position: position for position in wanted}
    codec, size = _CODECS[unit]
    converted, done, units = {}, 0, 0
    for position in wanted:
        units += len(text[done:position].encode(codec)) // size
        converted[position] = units
        done = position
    return converted
