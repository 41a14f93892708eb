r"""Text -> the same text without differences that do not matter to a reader, and back to places in the original.

Two texts read the same when they are equal after these changes, and no others:

- white space: each run of it, line ends included, becomes one blank; a line end between two characters of
  Chinese or Japanese, which are written without blanks, becomes none;
- hyphenation: soft hyphens go, and so does a hyphen at a line end between letters, with the line end;
- typography: curly quotes and guillemets, dashes and the ellipsis become those of ASCII;
- compatibility: ligatures, full-width and half-width forms and the like become plain letters, as in Unicode's
  NFKC. Not where the meaning changes: superscripts (5² is not 52), fractions, circled numbers;
- composition: a letter and its marks become one character where Unicode has it (NFC);
- case: capital letters become small ones, one for one, so that ß is not ss.

A letter, a digit, an accent or a punctuation mark that differs is never folded away.

Left out: finding a quote (quotes.py). Runs of more than 64 marks, which no language has, are folded in parts.
"""

from __future__ import annotations

import unicodedata
from array import array
from bisect import bisect_right
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

WHITE_SPACE, HYPHENATION, TYPOGRAPHY = "white space", "hyphenation", "typography"
COMPATIBILITY, COMPOSITION, CASE = "compatibility", "composition", "case"
CHANGES = (WHITE_SPACE, HYPHENATION, TYPOGRAPHY, COMPATIBILITY, COMPOSITION, CASE)
_ALL = frozenset(CHANGES)

_TYPOGRAPHY = (
    dict.fromkeys(map(ord, "‘’‚‛′‵‹›"), "'")
    | dict.fromkeys(map(ord, "“”„‟″‶«»〝〞〟"), '"')
    | dict.fromkeys(map(ord, "‐‑‒–—―−⁃"), "-")
    | {ord("…"): "..."}
)
_TYPOGRAPHIC = frozenset(map(chr, _TYPOGRAPHY))
_CHANGED_MEANING = {"<super>", "<sub>", "<fraction>", "<circle>"}  # tags of Unicode's decompositions
_SOFT_HYPHEN = "\u00ad"
_IOTA_BELOW = "\u0345"  # a mark whose capital is a letter

# What Unicode may compose with the character before it, so no text is cut in front of it.
_COMPOSING = r"\p{M}\p{GCB=Extend}\p{GCB=V}\p{GCB=T}\u3131-\u318e\uff9e-\uffdc"
# Han and Kana, and their punctuation.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\u3000-\u303f\uff00-\uff0f\uff1a-\uff1f"


class _FoldingPatterns(NamedTuple):
    piece: Any
    unit: Any
    hyphen: Any
    soft_hyphen: Any
    unspaced: Any


@cache
def _patterns() -> _FoldingPatterns:
    import regex

    return _FoldingPatterns(
        # ASCII with single blanks; white space; some words with the marks after them and single blanks.
        piece=regex.compile(
            rf"(?P<plain>[!-~]{{1,99}}(?: [!-~]{{1,99}}){{0,99}}(?![{_COMPOSING}]))|(?P<white>\s+)"
            rf"|\S{{1,64}}[{_COMPOSING}]{{0,64}}(?: \S{{1,64}}[{_COMPOSING}]{{0,64}}){{0,7}}"
        ),
        unit=regex.compile(rf"(?s).[{_COMPOSING}]*"),
        hyphen=regex.compile(
            r"(?<=\p{L}\p{M}{0,2})[-\u2010\u00ad][^\S\r\n]{0,99}(?:\r\n|\r|\n)[^\S\r\n]{0,99}(?=\p{L})"
        ),
        soft_hyphen=regex.compile(rf"\u00ad(?![{_COMPOSING}])"),
        unspaced=regex.compile(rf"[{UNSPACED}]"),
    )


class _Piece(NamedTuple):
    """Characters of a text, `start` to `end`, and what they become; `even`: one character each, in this order."""

    start: int
    end: int
    folded: str
    even: bool


def fold(text: str, changes: frozenset[str] = _ALL, *, keep_hyphens: bool = False) -> str:
    """Return a text after the changes named.

    Args:
        text: any text.
        changes: some of `CHANGES`.
        keep_hyphens: a hyphen at a line end stays, and only the line end goes ("well-known", not "wellknown").
    """
    return "".join(piece.folded for piece in _pieces(text, changes, keep_hyphens=keep_hyphens))


def has_hyphenation(text: str) -> bool:
    """Return whether a line ends with a hyphen that may belong to a word or to the line end."""
    return any(match.group()[0] != _SOFT_HYPHEN for match in _patterns().hyphen.finditer(text))


class FoldedText:
    """A text after all changes, and where its characters come from.

    Attributes:
        original: the text.
        folded: the text after all changes.
    """

    def __init__(self, original: str, *, keep_hyphens: bool = False) -> None:
        self.original = original
        # Pieces that are not even: starts and ends in the folded text and in the original.
        self._starts, self._ends, self._first, self._last = (array("q", [0]) for _ in range(4))
        parts, at = [], 0
        for piece in _pieces(original, _ALL, keep_hyphens=keep_hyphens):
            parts.append(piece.folded)
            length = len(piece.folded)
            if not piece.even:
                self._starts.append(at)
                self._ends.append(at + length)
                self._first.append(piece.start)
                self._last.append(piece.end)
            at += length
        self.folded = "".join(parts)

    def range(self, start: int, end: int) -> tuple[int, int, bool] | None:
        """Return the range of the original that a range of the folded text comes from.

        Returns:
            Its start and end, and whether it is wider than asked for because a ligature cannot be cut; None where
            an end lies between a letter and its mark.
        """
        if (start and _is_mark(self.folded[start])) or (end < len(self.folded) and _is_mark(self.folded[end])):
            return None
        first, last = self._unit(start), self._unit(end - 1)
        return first.start, last.end, first.folded_start < start or end < last.folded_end

    def cover(self, start: int, end: int) -> tuple[int, int]:
        """Return the smallest range of the original that holds all of a range of the folded text."""
        return self._unit(start).start, self._unit(end - 1).end

    def _unit(self, at: int) -> _Unit:
        """Return the smallest part of the original that becomes the character at a position."""
        index = bisect_right(self._starts, at) - 1
        start, end = self._starts[index], self._ends[index]
        if at >= end:
            place = self._last[index] + at - end
            return _Unit(place, place + 1, at, at + 1)
        first, last = self._first[index], self._last[index]
        place, folded_place = first, start
        for match in _patterns().unit.finditer(self.original, first, last):
            folded = _fold_word(match.group(), _ALL)
            if not self.folded.startswith(folded, folded_place, end):
                break
            if at < folded_place + len(folded):
                return _Unit(place, match.end(), folded_place, folded_place + len(folded))
            place, folded_place = match.end(), folded_place + len(folded)
        return _Unit(first, last, start, end)  # white space, and a hyphen with its line end


class _Unit(NamedTuple):
    start: int
    end: int
    folded_start: int
    folded_end: int


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _pieces(text: str, changes: frozenset[str], *, keep_hyphens: bool) -> Iterator[_Piece]:
    if HYPHENATION not in changes:
        yield from _pieces_of_lines(text, 0, len(text), changes)
        return
    at = 0
    for match in _patterns().hyphen.finditer(text):
        yield from _pieces_of_lines(text, at, match.start(), changes)
        kept = match.group()[0] if keep_hyphens and match.group()[0] != _SOFT_HYPHEN else ""
        if kept and TYPOGRAPHY in changes:
            kept = "-"
        yield _Piece(match.start(), match.end(), kept, even=False)
        at = match.end()
    yield from _pieces_of_lines(text, at, len(text), changes)


def _pieces_of_lines(text: str, low: int, high: int, changes: frozenset[str]) -> Iterator[_Piece]:
    for match in _patterns().piece.finditer(text, low, high):
        start, end = match.span()
        part = match.group()
        if match.lastgroup == "plain":
            yield _Piece(start, end, part.lower() if CASE in changes else part, even=True)
        elif match.lastgroup == "white":
            folded = _fold_white_space(text, start, end) if WHITE_SPACE in changes else part
            yield _Piece(start, end, folded, even=len(folded) == len(part))
        else:
            folded = _fold_word(part, changes)
            yield _Piece(start, end, folded, _is_even(part, folded))


def _fold_white_space(text: str, start: int, end: int) -> str:
    run = text[start:end]
    if ("\n" in run or "\r" in run) and start and end < len(text):
        unspaced = _patterns().unspaced
        if unspaced.match(text[start - 1]) and unspaced.match(text[end]):
            return ""
    return " "


def _fold_word(word: str, changes: frozenset[str]) -> str:
    """Return words with single blanks between them after the changes."""
    if HYPHENATION in changes and _SOFT_HYPHEN in word:
        word = _patterns().soft_hyphen.sub("", word)
    if TYPOGRAPHY in changes and not _TYPOGRAPHIC.isdisjoint(word):
        word = word.translate(_TYPOGRAPHY)
    if COMPATIBILITY in changes and not unicodedata.is_normalized("NFKC", word):
        if COMPOSITION in changes:
            word = unicodedata.normalize("NFD", word)
        word = "".join(map(_compatible, word))
        if TYPOGRAPHY in changes:
            word = word.translate(_TYPOGRAPHY)
    if COMPOSITION in changes:
        word = unicodedata.normalize("NFC", word)
    if CASE in changes:
        word = _fold_case(word)
        if COMPOSITION in changes:
            word = unicodedata.normalize("NFC", word)
    return word


@cache
def _compatible(character: str) -> str:
    """Return a character in plain form, or itself where it has none that means the same."""
    tag = unicodedata.decomposition(character).partition(" ")[0]
    if tag[:1] != "<" or tag in _CHANGED_MEANING or character in _TYPOGRAPHIC:
        return character
    plain = unicodedata.normalize("NFKC", character)
    has_digit = any(map(str.isdigit, plain)) and not character.isdecimal()
    return character if has_digit or any(map(str.isspace, plain)) else plain


def _fold_case(word: str) -> str:
    folded = word.casefold()
    if len(folded) == len(word) and _IOTA_BELOW not in word:
        return folded
    return "".join(map(_small, word))


@cache
def _small(character: str) -> str:
    """Return the one small letter of a capital one."""
    if character == _IOTA_BELOW:
        return character
    forms = (character.casefold(), character.lower())
    return next((form for form in forms if len(form) == 1), character)


def _is_even(words: str, folded: str) -> bool:
    """Return whether each character of some words surely became one, at the same place."""
    if len(words) != len(folded):
        return False
    return _SOFT_HYPHEN not in words and unicodedata.is_normalized("NFKC", words)
