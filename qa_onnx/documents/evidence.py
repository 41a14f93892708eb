"""Text and the range of an answer -> where it stands: sentence, paragraph, line, page, and which of its places.

Only the neighbourhood of the answer is read; the whole text is only searched and counted, which takes some tenths
of a second in a text of 50 MB. Left out: how a text is split into sentences (sentences.py).
"""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from typing import Any

from qa_onnx.documents.document import PAGE_END
from qa_onnx.documents.sentences import PARAGRAPH_END, borders
from qa_onnx.errors import InputError, quoted
from qa_onnx.tokens.boundaries import trimmed, whole

LONGEST_SENTENCE = 2_000  # characters; a longer one is cut on both sides of the answer
LONGEST_PARAGRAPH = 10_000  # characters; likewise
MOST_OCCURRENCES = 10_000  # places that are looked at; an answer with more of them is not counted
LONGEST_COUNTED = 1_000  # characters of an answer that is counted

_BLANK_WITHIN = 200  # characters from a cut in which a blank is looked for
_MARKS_WITHIN = 64
_LATIN_MARKS = ("\u0300", "\u036f")
_JOINER = "\u200d"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A range of a text: `text == document[start:end]`.

    Attributes:
        text: what stands there.
        start: index of its first character (code point).
        end: index after its last one.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where an answer stands in a text.

    Attributes:
        sentence: the sentences that hold the answer, from the first to the last of them, without the white space
            around; at most `LONGEST_SENTENCE` characters, or the answer alone where that is longer.
        paragraph: what stands between two blank lines or form feeds; at most `LONGEST_PARAGRAPH` characters.
        line: of the answer's first character, from 1; a line ends at LF, CR LF or CR, and nowhere else.
        page: of the answer's first character, from 1; pages end at form feeds.
        occurrence: the answer is the k-th of the places at which this text stands as whole words, from 1.
        occurrences: how many such places there are; None, as `occurrence`, where they are not counted: more than
            `MOST_OCCURRENCES` places, or an answer of more than `LONGEST_COUNTED` characters.
    """

    sentence: Excerpt
    paragraph: Excerpt
    line: int
    page: int
    occurrence: int | None
    occurrences: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)


def evidence(text: str, start: int, end: int) -> Evidence:
    """Return where the answer `text[start:end]` stands.

    Args:
        text: the whole document.
        start: index of the answer's first character, such as `Answer.start`.
        end: index after its last one.

    Raises:
        InputError: the range holds no character, or is not one of the text.
    """
    if not isinstance(text, str):
        raise InputError(f"the text is of type {type(text).__name__}: give a str")
    if not (_is_index(start) and _is_index(end) and 0 <= start < end <= len(text)):
        raise InputError(
            f"an answer from {quoted(start)} to {quoted(end)} does not lie in a text of {len(text):,} characters",
            remedy="give 0 <= start < end <= length; an empty answer stands nowhere, so check `if answer` before",
        )
    first, last = trimmed(text, start, end)
    if first == last:  # nothing but white space
        first, last = start, end
    low, high = _paragraph(text, first, last)
    occurrence, occurrences = _occurrences(text, first, last)
    return Evidence(
        sentence=_excerpt(text, _sentence(text, first, last, low, high), start, end, LONGEST_SENTENCE),
        paragraph=_excerpt(text, (low, high), start, end, LONGEST_PARAGRAPH),
        line=_line(text, start),
        page=1 + text.count(PAGE_END, 0, start),
        occurrence=occurrence,
        occurrences=occurrences,
    )


def stands_alone(text: str, start: int, end: int) -> bool:
    """Return whether a range that neither begins nor ends with a blank consists of whole words and characters."""
    if _goes_on(text, start) or _goes_on(text, end):
        return False
    return whole(text, start, end, align_to_words=True) == (start, end)


def _goes_on(text: str, at: int) -> bool:
    """Return whether a word or character surely goes on at a position; False: look closer, which takes longer."""
    if not 0 < at < len(text):
        return False
    return _LATIN_MARKS[0] <= text[at] <= _LATIN_MARKS[1] or (_is_cased(text[at - 1]) and _is_cased(text[at]))


def _is_cased(character: str) -> bool:
    """Return whether a character is a mark of Latin letters, or a letter of a script that has capitals."""
    return _LATIN_MARKS[0] <= character <= _LATIN_MARKS[1] or character.upper() != character.lower()


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _paragraph(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the start and end of the paragraphs that hold an answer, as far as they are read."""
    low = max(0, start - LONGEST_PARAGRAPH)
    for match in PARAGRAPH_END.finditer(text, low, start):
        low = match.end()
    high = min(len(text), end + LONGEST_PARAGRAPH)
    found = PARAGRAPH_END.search(text, end, high)
    return low, found.start() if found else high


def _sentence(text: str, start: int, end: int, low: int, high: int) -> tuple[int, int]:
    """Return the start and end of the sentences that hold an answer, within those of its paragraph."""
    low = max(low, start - LONGEST_SENTENCE)
    for border in borders(text, low, start):
        low = max(low, border)
    high = min(high, end + LONGEST_SENTENCE)
    # The stop that ends the answer may be its last character, so borders are looked for from a little before.
    after = (border for border in borders(text, max(low, end - _MARKS_WITHIN), high) if border >= end)
    return low, next(after, high)


def _excerpt(text: str, natural: tuple[int, int], start: int, end: int, limit: int) -> Excerpt:
    """Return a range without white space around it, cut to a limit on both sides of the answer, at blanks."""
    low, high = trimmed(text, *natural)
    low, high = (min(low, start), max(high, end)) if low < high else (start, end)
    if high - low > limit:
        room = max(0, limit - (end - start))
        left = min(start - low, max(room // 2, room - (high - end)))
        right = min(high - end, room - left)
        low, high = _cut(text, start - left, start, 1), _cut(text, end + right, end, -1)
        first, last = trimmed(text, low, high)
        low, high = min(first, start), max(last, end)
    return Excerpt(text[low:high], low, high)


def _cut(text: str, limit: int, border: int, step: int) -> int:
    """Return where an excerpt begins or ends, at a blank if there is one nearby.

    Args:
        text: the whole text.
        limit: where it begins or ends at the latest.
        border: of the answer on this side.
        step: 1 where it begins, -1 where it ends: towards the answer.
    """
    outside, inside = (-1, 0) if step > 0 else (0, -1)  # the characters on both sides of a position
    if limit in (border, 0, len(text)) or text[limit + outside].isspace():
        return limit
    places = range(limit, border, step)
    blanks = (at for at in places[:_BLANK_WITHIN] if text[at + inside].isspace())
    whole_characters = (at for at in places[:_MARKS_WITHIN] if not _is_joined(text, at))
    return next(blanks, next(whole_characters, limit))


def _is_joined(text: str, at: int) -> bool:
    """Return whether the character at a position is a mark of the one before, or joined to it."""
    return unicodedata.category(text[at])[0] == "M" or _JOINER in text[at - 1 : at + 1]


def _line(text: str, start: int) -> int:
    r"""Return the number of the line that a position lies in; the "\n" of "\r\n" ends the line of its "\r"."""
    ends = text.count("\n", 0, start) + text.count("\r", 0, start) - text.count("\r\n", 0, start)
    return 1 + ends - (text[max(0, start - 1) : start + 1] == "\r\n")


def _occurrences(text: str, start: int, end: int) -> tuple[int, int] | tuple[None, None]:
    """Return which of its places the answer stands at, and how many these are; places may overlap.

    That of the answer counts even where it is part of a word.
    """
    answer = text[start:end]
    if answer.isspace() or len(answer) > LONGEST_COUNTED:
        return None, None
    occurrence = occurrences = at = looked_at = 0
    while (at := text.find(answer, at)) >= 0:
        if looked_at == MOST_OCCURRENCES:
            return None, None
        looked_at += 1
        if at == start or stands_alone(text, at, at + len(answer)):
            occurrences += 1
            occurrence += at <= start
        at += 1
    return occurrence, occurrences
