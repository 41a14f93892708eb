"""Text -> the terms that a search compares: words in lower case and without accents, bigrams of CJK characters.

Scripts without blanks between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan), and Korean, whose
words carry their particles, become all pairs of neighbouring characters, as in Lucene's CJKAnalyzer.

Left out: stop words and stems; benchmarks/retrieval.py measures what they would change.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

import regex

VERSION = 1  # of these rules; an index made by others is built again
LONGEST_TERM = 64  # characters; a longer word becomes several terms

_SCRIPTS = "".join(
    rf"\p{{{name}}}"
    for name in ("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
)
_MARKS = "\u3005\u3006\u30fc"  # iteration, closing and length marks, which several scripts share
# A character of a script without blanks between words, with its marks.
UNSPACED = regex.compile(rf"[{_SCRIPTS}{_MARKS}]\p{{M}}*+")

_ASCII_WORD = re.compile(rf"\w{{1,{LONGEST_TERM}}}")
_PAIRED = rf"{_SCRIPTS}{_MARKS}\p{{Hangul}}"
_TERM = regex.compile(rf"(?V1)([{_PAIRED}]\p{{M}}*+)++|[[\w\p{{M}}]--[{_PAIRED}]]{{1,{LONGEST_TERM}}}")
_ACCENTS = re.compile("[\u0300-\u036f]+")  # of Latin, Greek and Cyrillic letters; vowel signs of others matter
_ONLY_LATIN = re.compile("[\\x00-\u02ff\u2000-\u206f\u20a0-\u20bf]*+")  # with general punctuation and currencies


def terms_of(text: str) -> list[str]:
    """Return the terms of a text, in its order."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    folded = _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold())).casefold()  # some letters at last
    if _ONLY_LATIN.fullmatch(folded):
        return _ASCII_WORD.findall(folded)
    terms: list[str] = []
    for match in _TERM.finditer(unicodedata.normalize("NFC", folded).casefold()):
        characters = match.captures(1)
        if len(characters) > 1:
            terms += map("".join, pairwise(characters))
        else:
            terms.append(match[0])
    return terms
