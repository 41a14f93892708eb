"""Text -> its sentences, by rules, for texts whose language nobody named.

A sentence ends

- at a stop, with the quotes, brackets and marks of footnotes that follow it, where a blank comes next; full
  stops of Chinese and Japanese need no blank. What comes next in a small letter belongs to the sentence. A full
  stop after an abbreviation, an initial, or the number of a list item ends nothing;
- at a line end before a list item, a row of a table, a field such as "Name: ...", or after a line that was ended
  on purpose: a short one, such as a heading, with a capital letter or a digit on the next line; and between two
  lines such as "name: Ana Ruiz, office: 3." that share a name. Other line ends are white space;
- at a blank line and at a form feed.

Each rule looks at some hundred characters at most, so what is far away changes no border, and the work grows
with the length of the text only. Where the rules cannot know, the sentence is the longer one.

Left out: Thai, Lao and other scripts without stops, where a sentence lasts until a line or paragraph ends it;
stops with no blank after them ("end.Next"), which are taken for names of files or addresses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qa_onnx.documents.abbreviations import NEVER_LAST, NUMBERED, OFTEN_LAST, ORDINAL_NOUNS, STARTERS
from qa_onnx.tokens.boundaries import trimmed

if TYPE_CHECKING:
    from collections.abc import Iterator

PARAGRAPH_END = re.compile(r"(?:\r\n|\r(?!\n)|\n)[^\S\r\n]*(?:\r\n|\r|\n)|\f")

_CASED_STOPS = ".!?…‼⁇⁈⁉‽"  # what follows in a small letter belongs to the sentence
_OTHER_STOPS = "؟۔։।॥።፧፨᙮។။།"  # of scripts without capital letters
_LINE_ENDS = "\r\n\f"
_STOPS = _CASED_STOPS + _OTHER_STOPS
_FULL_STOPS = "。｡！？"
_QUOTES = "\"'”’“»«›‹」』｣"
_CLOSERS = re.escape(_QUOTES + ")]}）】〉》〕］")
_OPENERS = "\"'“”„‟‚‘«»‹›「『｢([{（【〈《〔［¿¡*_"

_CANDIDATE = re.compile(
    rf"(?<![{_STOPS}])[{_STOPS}]+(?:[{_CLOSERS}]|[ \xa0\u202f][»›](?!\w)|\[\d{{1,3}}\]|[¹²³⁰-⁹†‡]){{0,10}}"
    r"(?=\s|\Z)"
    rf"|(?<![{_FULL_STOPS}])[{_FULL_STOPS}]+[{_CLOSERS}]{{0,10}}"
    r"|\f|\r\n|\r|\n"
)
_WORD_BEFORE = re.compile(r"[^\s(\[{\"'“„«‚‘/]*\Z")
_FIRST_WORD = re.compile(r"[^\W\d_]+(?![\w.])")
_LETTERS = re.compile(r"[^\W\d_]+")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_NUMERAL = re.compile(r"\d|[IVXLC]+\b|[A-Z]\b")
_MARKER = re.compile(r"(?:\d{1,3}|[^\W\d_]|[ivxIVX]{2,4}|\d{1,3}(?:\.\d{1,3}){1,4})")
_ITEM = re.compile(
    r"[^\S\r\n]*(?:[-*+•‣◦·▪■●○►▶✓✔–—][^\S\r\n]+|#{1,6} |§|\(?(?:(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)]|[A-Z]\))\s"
    r"|\d{1,2}(?:\.\d{1,3}){1,4}\.?\s|[（(][一二三四五六七八九十\d]+[）)]|[一二三四五六七八九十]+、|第[一二三四五六七八九十\d]+[章条節节])"
)
_FIELD = re.compile(r"[^\S\r\n]*[^\W\d_][\w .-]{0,30}[:：](?:\s|\Z)")
_NAMES = re.compile(r"(?:\A|, )([^:,]{1,80}): ")  # of the cells of a row
_COLUMNS = re.compile(r"\t|\||\S {3,}\S")

_NEAR = 80  # characters of the text after a stop that are read
_LINE = 400  # characters of a line, and of those around it, that are read
_ROW = 2_000  # characters of a row of a table that are read
_SHORT = 30  # characters; a line below, before a capital letter, stands on its own


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each sentence, in order, without the white space around it.

    Between two sentences is nothing but white space, and often none.
    """
    begin = 0
    for border in borders(text, 0, len(text)):
        start, end = trimmed(text, begin, border)
        if start < end:
            yield start, end
        begin = border
    start, end = trimmed(text, begin, len(text))
    if start < end:
        yield start, end


def borders(text: str, low: int, high: int) -> Iterator[int]:
    """Yield where sentences end, after the stop and what closes it, from `low` to `high`, both included."""
    last = -1
    for match in _CANDIDATE.finditer(text, low, min(len(text), high + 2)):
        border = match.start() if match.group()[0] in _LINE_ENDS else match.end()
        if border > high:
            return
        if border > last and _ends_sentence(text, match):
            yield border
            last = border


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    first = match.group()[0]
    if first == "\f":
        return True
    if first in _LINE_ENDS:
        return _line_ends_sentence(text, match.start(), match.end())
    if first in _FULL_STOPS:  # 「はい。」と言った goes on after the quote
        return not (match.group()[-1] in _QUOTES and text[match.end() : match.end() + 1].isalnum())
    return _stop_ends_sentence(text, match)


def _stop_ends_sentence(text: str, match: re.Match[str]) -> bool:
    stop = match.group()
    after = text[match.end() : match.end() + _NEAR].lstrip().lstrip(_OPENERS + "-–— \xa0\u202f")
    if not after or stop[0] in _OTHER_STOPS:
        return True
    if after[0] in ",;:)]}" or (after[0].islower() and not after[1:2].isupper()):  # but: iPhone
        return False
    return stop != "." or not _is_part_of_word(text, match.start(), after)


def _is_part_of_word(text: str, at: int, after: str) -> bool:
    """Decide of the full stop at a position whether it belongs to the abbreviation or number before it."""
    before = text[max(0, at - _NEAR) : at]
    found = _WORD_BEFORE.search(before)
    word = found.group() if found else ""
    lower = word.casefold()
    line = re.split(r"[\r\n\f]", before)[-1]
    if _MARKER.fullmatch(word) and not line[: -len(word)].strip() and len(line) < _NEAR:
        return True  # "1. Scope": the number of a list item
    if lower in NEVER_LAST:
        return True
    if lower in NUMBERED and _NUMERAL.match(after):
        return True
    if word.isdigit():
        noun = _LETTERS.match(after)
        return len(word) < 3 and noun is not None and noun.group().casefold() in ORDINAL_NOUNS
    is_initial = len(word) == 1 and word.upper() != word.lower()
    if is_initial or lower in OFTEN_LAST or _ACRONYM.fullmatch(word):
        starter = _FIRST_WORD.match(after)
        return starter is None or starter.group().casefold() not in STARTERS
    return False


def _line_ends_sentence(text: str, start: int, end: int) -> bool:
    """Decide of a line end, from `start` to `end`, whether it was made on purpose."""
    before, after = text[max(0, start - _LINE) : start], text[end : end + _LINE]
    line = before[1 + max(map(before.rfind, _LINE_ENDS)) :].rstrip()
    following = after[: min((at for at in map(after.find, _LINE_ENDS) if at >= 0), default=_LINE)]
    content = following.strip()
    if not content or not line or _begins_anew(line, following):
        return True
    if line[-1] in ",;-–—" or line.rstrip(_QUOTES + ")]")[-1:] in tuple(_STOPS + _FULL_STOPS):
        return _is_between_rows(text, start, end)  # else it goes on, or the rules of stops have decided
    first = content.lstrip(_OPENERS)[:1]
    if not first.isalnum() or first.islower():
        return False
    length, has_capitals = len(line.strip()), first.isdigit() or first.upper() != first.lower()
    if has_capitals and length < _SHORT:
        return True
    width = max(len(part.strip()) for part in re.split(r"[\r\n\f]", before + text[start:end] + after))
    if has_capitals:
        return length + 1 + len(content.split(maxsplit=1)[0]) <= 0.6 * width
    return 2 * length <= width


def _is_between_rows(text: str, start: int, end: int) -> bool:
    """Return whether the lines before and after a line end are rows of one table, "name: cell, name: cell."."""
    before, after = text[max(0, start - _ROW) : start], text[end : end + _ROW]
    line = before[1 + max(map(before.rfind, _LINE_ENDS)) :].rstrip()
    names = set(_NAMES.findall(line)) if line[-1:] in tuple(".!?") else set()
    return bool(names) and not names.isdisjoint(_NAMES.findall(re.split(r"[\r\n\f]", after, maxsplit=1)[0]))


def _begins_anew(line: str, following: str) -> bool:
    """Return whether a line is a list item, a field or a row, or the one before it a row or a heading."""
    content = following.strip()
    if _ITEM.match(following) or (_FIELD.match(following) and content[0].isupper()):
        return True
    if _COLUMNS.search(content) or _COLUMNS.search(line.lstrip()):
        return True
    return line.startswith("#") or line.startswith(">") != content.startswith(">")
