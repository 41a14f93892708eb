r"""Characters of a span -> the whole characters and words that an answer consists of.

Tokens are not made for readers: one can end between a letter and its accent, inside an emoji, or inside a word. So

1. blanks at both ends are left out;
2. both ends move outwards to the borders of words, where the option `align_to_words` is set;
3. both ends move outwards to borders of grapheme clusters, which is what Unicode calls a letter with its marks, an
   emoji sequence or a Hangul syllable (Unicode Standard Annex 29, by `regex`'s \X). A cluster that holds a
   blank, which has a mark of its own, counts as blank.

A word is a run of letters, digits and marks. Scripts that are written without blanks (Han, Kana, Thai, Lao, Khmer,
Burmese, Tibetan, ...) have no such words. Nor has Korean: its particles follow a noun without a blank, and answers
leave them out. There, the end of a token is taken for that of a word.

Left out: which spans are answers (answers.py).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any, NamedTuple

_LONGEST_WORD = 100  # characters; a longer run of letters, such as base64 or DNA, is no word
_LONGEST_CLUSTER = 64  # code points; Unicode's stream-safe text (Annex 15) has at most 30 marks in a row

_SEPARATORS = {"", " ", ",", "."}  # no word goes on there; most answers have these beside them, so it saves time

# The scripts above: line breaking classes SA and ID, Hangul and Tibetan (Unicode Standard Annex 14).
_WITHOUT_WORDS = re.compile(
    "[\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u1aaf\u1b00-\u1b7f\u2e80-\ua4cf\ua960-\ua9ff\uaa60-\uaadf"
    "\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U00016fe0-\U00018d8f\U0001aff0-\U0001b2ff\U00020000-\U0003ffff]"
)
_JOINERS = "\u00ad\u200c\u200d"  # soft hyphen, zero-width non-joiner and joiner: inside a word they do not end it


def whole(text: str, start: int, end: int, *, align_to_words: bool) -> tuple[int, int]:
    """Return the characters, half-open, that an answer made of those from `start` to `end` consists of.

    Args:
        text: the context.
        start: index of the first character.
        end: index after the last one.
        align_to_words: see `Options.align_to_words`.

    Returns:
        The new start and end; equal where there is nothing but blanks.
    """
    if start < end and (text[start].isspace() or text[end - 1].isspace()):
        start, end = trimmed(text, start, end)
    if align_to_words and start < end:
        if text[start - 1 : start] not in _SEPARATORS:
            start = _word_border(text, start, -1)
        if text[end : end + 1] not in _SEPARATORS:
            end = _word_border(text, end, 1)
    return (start, end) if text.isascii() else _graphemes(text, start, end)


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a range without the white space at both of its ends; equal ends where there is nothing else."""
    part = text[start:end]
    left = part.lstrip()
    return end - len(left), end - (len(part) - len(part.rstrip())) if left else end


def _graphemes(text: str, start: int, end: int) -> tuple[int, int]:
    """Move both ends outwards to borders of clusters, and inwards over clusters that hold a blank."""
    while start < end and not _is_border(text, start):
        first, last = _cluster(text, start)
        if not any(map(str.isspace, text[first:last])):
            start = first
            break
        start, end = trimmed(text, last, end)
    while start < end and not _is_border(text, end):
        first, last = _cluster(text, end)
        if not any(map(str.isspace, text[first:last])):
            end = last
            break
        start, end = trimmed(text, start, first)
    return start, max(start, end)


class _Patterns(NamedTuple):
    """One cluster; two characters that no rule about clusters names; and, backwards, what is no half of a flag."""

    cluster: Any
    separate: Any
    no_flag: Any


@cache
def _patterns() -> _Patterns:
    """Return compiled patterns. Importing `regex` takes longer than an answer, and English does not need it."""
    import regex

    return _Patterns(*map(regex.compile, (r"\X", r"\p{GCB=Other}{2}", r"(?r)\P{GCB=Regional_Indicator}")))


def _is_border(text: str, at: int) -> bool:
    """Return whether clusters surely end or begin at a position; False: it takes a closer look."""
    if not 0 < at < len(text):
        return True
    pair = text[at - 1 : at + 1]
    return pair.isascii() or _patterns().separate.fullmatch(pair) is not None


def _cluster(text: str, at: int) -> tuple[int, int]:
    """Return the cluster that a position lies in, start and end; both are the position where that is a border."""
    begin = max(0, at - _LONGEST_CLUSTER)
    if (blank := text.rfind(" ", begin, at)) >= 0:
        begin = blank  # only a rare sign before it can belong to it, and then the cluster is left out in any case
    else:  # flags are pairs of letters, and can be counted from before the first letter of one
        no_flag = _patterns().no_flag.search(text, 0, begin)
        begin -= (begin - (no_flag.end() if no_flag else 0)) % 2
    for match in _patterns().cluster.finditer(text[begin : at + _LONGEST_CLUSTER]):
        if begin + match.end() >= at:
            break
    return (at, at) if begin + match.end() == at else (begin + match.start(), begin + match.end())


def _word_border(text: str, at: int, step: int) -> int:
    """Return the border of the word that a position lies in, to the left (-1) or right (1), or the position."""
    border = place = at
    while _is_inside_word(text, place):
        if abs(place - at) == _LONGEST_WORD:
            return at
        if text[place if step > 0 else place - 1].isalnum():
            border = place + step
        place += step
    return border


def _is_inside_word(text: str, at: int) -> bool:
    if not 0 < at < len(text):
        return False
    pair = text[at - 1 : at + 1]
    if pair.isascii():
        return pair.isalnum()
    return all(map(_is_of_word, pair)) and not _WITHOUT_WORDS.search(pair)


def _is_of_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] == "M" or character in _JOINERS
