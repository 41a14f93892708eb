"""Text of a document -> passages of about 100 to 200 words, as places in the text.

Passages follow each other without a gap, so no character is lost and no two overlap. One ends where a paragraph
ends (a blank line or a form feed) as long as paragraphs are short; a longer paragraph is cut at the ends of
sentences, else of lines, else between words. Most passages fit one window of a model that reads 384 tokens.

Left out: the words of a passage (terms.py), and which page it is on (documents).
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from qa_onnx.errors import InputError
from qa_onnx.retrieval.terms import UNSPACED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LEAST_WORDS = 100  # a passage takes in further paragraphs until it has so many
MOST_WORDS = 200
MOST_CHARACTERS = 3000  # of a passage: for tables of numbers, runs of blanks, and "words" of any length
LONGEST_TEXT = 1 << 28  # characters of a document

# Where a text may be cut, the best places first; each match ends where the next piece begins.
_BORDERS = (
    re.compile(r"(?:\f|\n[^\S\n]*+\n)\s*+"),  # paragraphs and pages
    re.compile(r"(?<=[.!?\u2026])[\"'\u2019\u201d)\]]*+\s++|[\u3002\uff01\uff1f]\s*+"),  # sentences
    re.compile(r"\n\s*+"),  # lines
    re.compile(r"\s++"),  # words
)


class Place(NamedTuple):
    """A part of a text, `text[start:end]`."""

    start: int
    end: int


class _Part(NamedTuple):
    """A part of a text that is not cut further, and its size in words."""

    start: int
    end: int
    words: int


def cut_passages(text: str, *, name: str = "the document") -> list[Place]:
    """Cut a text into passages.

    A word is only cut where it is longer than `MOST_CHARACTERS`, or belongs to a script without blanks.

    Args:
        text: of a document, with any line ends.
        name: what an error calls it.

    Returns:
        The passages in the order of the text; each has at least one character and at most `MOST_CHARACTERS`, and
        joined they are the text. An empty text has none.

    Raises:
        InputError: the text is longer than `LONGEST_TEXT`.
    """
    if len(text) > LONGEST_TEXT:
        raise InputError(f"{name} has {len(text):,} characters; the limit is {LONGEST_TEXT:,}", remedy="split it")
    return [Place(piece.start, piece.end) for piece in _joined(_paragraphs(text), LEAST_WORDS)]


def count_words(text: str) -> int:
    """Return the words between blanks; in scripts without blanks each character is one more."""
    words = len(text.split())
    return words if text.isascii() else words + len(UNSPACED.findall(text))


def _fits(piece: _Part) -> bool:
    return piece.words <= MOST_WORDS and piece.end - piece.start <= MOST_CHARACTERS


def _paragraphs(text: str) -> Iterator[_Part]:
    """Yield the paragraphs of a text; those that are too long, in parts of equal size where sentences allow."""
    for paragraph in _split(text, Place(0, len(text)), 0):
        if _fits(paragraph):
            yield paragraph
            continue
        parts = max(
            math.ceil(paragraph.words / MOST_WORDS),
            math.ceil((paragraph.end - paragraph.start) / MOST_CHARACTERS),
        )
        yield from _joined(_small(text, paragraph, 1), math.ceil(paragraph.words / parts))


def _small(text: str, place: _Part, level: int) -> Iterator[_Part]:
    """Yield the parts of a place that fit a passage, cut at the borders of a level, or of the next one."""
    if level == len(_BORDERS):
        yield from _characters(text, place)
        return
    for piece in _split(text, Place(place.start, place.end), level):
        if _fits(piece):
            yield piece
        else:
            yield from _small(text, piece, level + 1)


def _split(text: str, place: Place, level: int) -> Iterator[_Part]:
    """Yield the parts of a place between the borders of a level."""
    ends = (match.end() for match in _BORDERS[level].finditer(text, *place))
    cuts = [place.start, *(end for end in ends if place.start < end < place.end), place.end]
    for start, end in pairwise(cuts):
        if start < end:
            yield _Part(start, end, count_words(text[start:end]))


def _characters(text: str, place: _Part) -> Iterator[_Part]:
    """Yield the parts of a long run without blanks: characters of scripts that have none, or slices."""
    starts = {place.start, *range(place.start, place.end, MOST_CHARACTERS)}
    starts |= {match.start() for match in UNSPACED.finditer(text, place.start, place.end)}
    for start, end in pairwise([*sorted(starts), place.end]):
        yield _Part(start, end, count_words(text[start:end]))


def _joined(pieces: Iterable[_Part], least_words: int) -> Iterator[_Part]:
    """Join neighbouring pieces until they have enough words; none becomes too large."""
    joined: _Part | None = None
    for piece in pieces:
        if joined is not None:
            both = _Part(joined.start, piece.end, joined.words + piece.words)
            if joined.words < least_words and _fits(both):
                joined = both
                continue
            yield joined
        joined = piece
    if joined is not None:
        yield joined
