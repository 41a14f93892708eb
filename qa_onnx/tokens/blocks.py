r"""A text -> where its blocks begin: paragraphs, list items, and the rows and cells of tables.

No answer begins in one list item and ends in the next, so spans do not cross the borders of blocks. A border is

    a blank line
    a line that begins with a bullet: "- "
    a line that begins with a number or letter and a full stop or bracket, "3. " or "b) ", if another line begins
    with the one before or after it: else prose may be broken there, as in "George\nW. Bush" or "of O\n2. Then"
    in a line with tabs, or with two or more "|": its beginning, its end, and each tab or "|"

A line break alone is none, because lines of prose are broken anywhere; nor is the end of a page. Left out: which
spans are answers (groups.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qa_onnx.tokens.encoding import Tokens

_MAY_HAVE_BLOCKS = re.compile(r"[\n\r\t|]")
_BLANK_LINE = r"(?:\r\n|[\n\r])[ \t\f]*(?:\r\n|[\n\r])\s*"
_LINE_START = r"(?:^|(?<=[\n\r]))[ \t]*"
_BULLET = _LINE_START + r"(?=[-*+•‣◦▪–—][ \t])"
_ROW = r"^[^\n\r]*(?:\t|\|[^\n\r|]*\|)[^\n\r]*$"
_BORDER = re.compile(f"{_BLANK_LINE}|{_BULLET}")
_NUMBERED = re.compile(_LINE_START + r"(?=\(?(?:(\d{1,3})|([A-Za-z]))[.)][ \t])")
_TABLE_ROW = re.compile(_ROW, re.MULTILINE)
_CELL_END = re.compile(r"[\t|]+")


def block_starts(text: str) -> list[int]:
    """Return the index of the first character of each block but the first, ascending; empty for a single block."""
    if _MAY_HAVE_BLOCKS.search(text) is None:
        return []
    starts = {match.end() for match in _BORDER.finditer(text)} | _numbered_items(text)
    for row in _TABLE_ROW.finditer(text):
        starts |= {row.start(), row.end(), *(cell.end() for cell in _CELL_END.finditer(text, *row.span()))}
    return sorted(starts - {0, len(text)})


def _numbered_items(text: str) -> set[int]:
    """Return where the items of lists with numbers or letters begin."""
    items = [
        (match.end(), ("number", int(match[1])) if match[1] else ("letter", ord(match[2])))
        for match in _NUMBERED.finditer(text)
    ]
    marks = {mark for _, mark in items}
    return {start for start, (kind, nth) in items if {(kind, nth - 1), (kind, nth + 1)} & marks}


def block_tokens(text: str, tokens: Tokens) -> tuple[int, ...]:
    """Return the index of the first token of each block but the first, ascending; empty for a single block."""
    starts = block_starts(text)
    if not starts:
        return ()  # without a look at the offsets
    found = np.unique(np.searchsorted(tokens.offsets[:, 1], starts, side="right"))
    return tuple(found[(found > 0) & (found < len(tokens.ids))].tolist())
