"""Line of a list of quotes, and text -> where the quote stands, without its list mark and quotation marks.

A number or letter of a list is left out only where no other one stands before the place: "1. FC Union" is not
found in "2. FC Union". Left out: marks inside of the quote; "A." and "IV.", which may be a part of a name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from qa_onnx.documents.abbreviations import ORDINAL_NOUNS
from qa_onnx.documents.prepared_text import PreparedText
from qa_onnx.documents.quotes import best_match, find_quotes

if TYPE_CHECKING:
    from qa_onnx.documents.quotes import QuoteMatch

MARKS = "marks"  # the name of this change

_OPENERS = "\"'“”„‟‚‘’«»‹›「『｢〝＂"
_CLOSERS = "\"'“”‟‘’«»‹›」』｣〞〟＂"
_BULLET = re.compile(r"[-*+•‣◦·▪■●○►▶✓✔–—]\s+")
_NUMBER = re.compile(r"\(?(?:\d{1,3}[.)]|[a-zA-Z]\))\s+")
_NUMBER_BEFORE = re.compile(rf"{_NUMBER.pattern}[{_OPENERS}]?\s*\Z")
_IN_MARKS = re.compile(rf"[{_OPENERS}]\s*(.*\S)\s*[{_CLOSERS}][.,;]?", re.DOTALL)
_WORD = re.compile(r"\w+")
_NEAR = 20  # characters before a place that are looked at


def without_marks(line: str) -> str:
    """Return a line without the mark or number of a list, and without one pair of quotation marks around it."""
    line = line.strip()
    rest = line[_mark_end(line) :]
    in_marks = _IN_MARKS.fullmatch(rest)
    quote = in_marks[1] if in_marks else rest
    return quote if any(map(str.isalnum, quote)) else line


def find_listed_quote(line: str, text: str | PreparedText) -> QuoteMatch | None:
    """Return the best place at which the quote of a line stands without the marks around it.

    Its first change is `MARKS`, and it is not exact. None: it stands nowhere, or the line has no such marks.

    Args:
        line: of a list, such as `- “The rent is due.”`.
        text: the document, prepared or not.

    Raises:
        InputError: see `find_quotes`.
    """
    quote = without_marks(line)
    if quote == line.strip():
        return None
    prepared = text if isinstance(text, PreparedText) else PreparedText(text)
    matches = find_quotes(quote, prepared)
    if _NUMBER.match(line.strip()):
        matches = (match for match in matches if not _has_number(prepared.text, match.start))
    match = best_match(matches)
    if match is None:
        return None
    verdict = "normalised" if match.verdict == "exact" else match.verdict
    return replace(match, verdict=verdict, changes=(MARKS, *match.changes))


def _mark_end(line: str) -> int:
    """Return where the mark of a list ends; 0: there is none, or it is a date such as "3. Mai"."""
    found = _BULLET.match(line)
    if found is None and (found := _NUMBER.match(line)):
        word = _WORD.match(line, found.end())
        if word and word.group().casefold() in ORDINAL_NOUNS:
            return 0
    return found.end() if found else 0


def _has_number(text: str, at: int) -> bool:
    return _NUMBER_BEFORE.search(text[max(0, at - _NEAR) : at]) is not None
