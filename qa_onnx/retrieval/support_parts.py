"""Claim -> its parts that can be checked, each with a question that asks for it, by rules for English.

Parts are quoted words, dates, years, numbers, names (words with a capital letter), and the last words, after a
preposition or a form of "be". The question is the claim with a question word in place of the part:

    The tower was built in 1912 by Agnes Halloran.
    1912            The tower was built in what year by Agnes Halloran?
    Agnes Halloran  The tower was built in 1912 by who or what?

Left out: where the answers come from (support.py), and grammar: a question may read badly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import regex

from qa_onnx.retrieval.index import QUESTION_WORDS
from qa_onnx.retrieval.terms import terms_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PartKind = Literal["quoted", "date", "year", "number", "name", "end"]

# What stands in the question for a part. On the paragraphs of 250 true claims (training articles of SQuAD) these
# words find 66 % of the parts; "what", "what date", "what year" and "what number" find 62 %, "what" alone 57 %.
_QUESTION_WORDS: dict[PartKind, str] = {
    "quoted": "what",
    "date": "when",
    "year": "what year",
    "number": "how many",
    "name": "who or what",
    "end": "what",
}
_ALL_MONTHS = "january february march april may june july august september october november december"
_MONTHS = _ALL_MONTHS.split()
_SMALL_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_UNITS = _SMALL_NUMBERS.split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_POWERS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_VALUES = (
    {word: float(value) for value, word in enumerate(_UNITS)}
    | {word: 20.0 + 10 * place for place, word in enumerate(_TENS)}
    | {"first": 1.0, "second": 2.0, "third": 3.0, "half": 0.5, "dozen": 12.0}
)

_MONTH = rf"(?:{'|'.join(month.capitalize() for month in _MONTHS)})"
_DAY = r"\d{1,2}(?:st|[nr]d|th)?(?!\d)"
_DATE = rf"{_DAY}\ (?:of\ )?{_MONTH}(?:,?\ \d{{4}})?|{_MONTH}\ {_DAY}(?:,?\ \d{{4}})?|{_MONTH},?\ \d{{4}}"
_YEAR = r"\d{1,4}\ (?:BCE?|AD|CE)\b|(?:1\d|20)\d\ds?(?![\d%])(?![.,]\d)"
_WORDS_OF_NUMBERS = "|".join((*_UNITS[2:], *_TENS, *_POWERS))
_NUMBER = (
    rf"[$€£¥₹]?\d+(?:[.,]\d+)*(?:st|[nr]d|th)?(?!\w)(?:\ (?:{'|'.join(_POWERS)}))?(?:\ ?%|\ percent)?"
    rf"|(?:{_WORDS_OF_NUMBERS})(?:[\ -](?:{_WORDS_OF_NUMBERS}))*(?!\w)"
)
_CAPITALISED = r"\w*\p{Lu}\w*(?:[.&/-]\w+|['’](?!s\b)\w+)*"
_JOINT = r"(?:\ |(?<=\b\p{Lu}|\.\p{Lu}|St|Dr|Mr|Mrs)\.\ |\ (?:of|de|von|van|der|the|of\ the|&)\ )"
_PART = regex.compile(
    rf"[\"“«](?P<quoted>[^\"“”«»]{{2,200}})[\"”»]"
    rf"|(?<![\w.])(?:(?P<date>{_DATE})|(?P<year>(?<![$€£¥]){_YEAR})"
    rf"|(?P<number>(?i:{_NUMBER}))|(?P<name>{_CAPITALISED}(?:{_JOINT}{_CAPITALISED})*))"
)
_BEFORE_THE_END = re.compile(
    r".*\b(?:is|are|was|were|be|been|in|on|at|by|from|during|to|for|with|of|as|into|about|called|named)"
    r"\s+(?:not\s+)?(?:(?:a|an|the|his|her|its|their)\s+)?",
    re.DOTALL,
)
_CAPITALISED_AT_THE_START = (
    "a an the over this that these those it its he she they his her their we our you your there here in on at by "
    "from during to for with of and or but if as after before since until while when where who which what how one "
    "some many most all both each every another other no not such several"
)
_NO_NAMES = frozenset(_CAPITALISED_AT_THE_START.split())
_NUMERIC = {"date", "year", "number"}
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|d)$")
_WITHOUT_MEANING = (
    "a an and as at be been but by for from had has have if in into it its of on or s such that the their then "
    "there these they this to was were will with"
)
_STOP_WORDS = QUESTION_WORDS | frozenset(_WITHOUT_MEANING.split())
_NEGATION = re.compile(
    r"\b(?:not|no(?!\.?\s\d)|never|none|neither|nor|nobody|nothing|without|cannot)\b|n['’]t\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ClaimPart:
    """A part of a claim, and the question that asks for it.

    Attributes:
        kind: quoted, date, year, number, name, or end: the last words of the claim.
        text: the claim from `start` to `end`.
        start: index of its first character in the claim.
        end: index after its last one.
        question: the claim with a question word instead of the part.
    """

    kind: PartKind
    text: str
    start: int
    end: int
    question: str


def parts_of(claim: str) -> list[ClaimPart]:
    """Return the parts of a claim that can be checked, in its order; they do not overlap."""
    found = list(_ranges(claim))
    stop = len(claim.rstrip(" .!?"))
    ending = _BEFORE_THE_END.match(claim)
    if ending and ending.end() < stop and (not found or found[-1][2] <= ending.end()):
        found.append(("end", ending.end(), stop))
    return [
        ClaimPart(kind, claim[start:end], start, end, _question(claim, kind, start, end))
        for kind, start, end in found
    ]


def _ranges(claim: str) -> Iterator[tuple[PartKind, int, int]]:
    for match in _PART.finditer(claim):
        kind: PartKind = match.lastgroup
        start, end = match.span(kind)
        if kind == "name":  # the first word of a sentence has a capital letter, too
            while (word := re.match(r"[^\W_]+(?:\s+|\Z)", claim[start:end])) and word[
                0
            ].strip().casefold() in _NO_NAMES:
                start += word.end()
        if start < end:
            yield kind, start, end


def _question(claim: str, kind: PartKind, start: int, end: int) -> str:
    before, behind = claim[:start], claim[end:].rstrip(" .!?")
    if kind == "date":
        before = re.sub(r"\b(?:in|on|by|at) $", "", before, flags=re.IGNORECASE)
    word = _QUESTION_WORDS[kind]
    if kind == "number" and claim[start] in "$€£¥₹":
        word = "how much"
    elif kind == "number" and claim[start:end].endswith(("%", "percent")):
        word = "what percentage"
    elif kind != "quoted":
        before = re.sub(r"\b(?:a|an|the) $", "", before, flags=re.IGNORECASE)
    text = f"{before}{word}{behind}?"
    return text[:1].upper() + text[1:]


def agrees(part: ClaimPart, answer: str) -> bool:
    """Return whether an answer says what a part says.

    Numbers, years and dates agree by their values ("1,000" and "one thousand") where both have some; all else
    where the answer has all words of the part, or at least half of them and no other.
    """
    wanted, there = values_of(part.text), values_of(answer)
    if part.kind in _NUMERIC and wanted and there:
        fewer, more = sorted((wanted, there), key=len)
        return fewer <= more
    words, others = stems(part.text), stems(answer)
    return bool(words) and (words <= others or (others <= words and 2 * len(others) >= len(words)))


def stands_in(part: ClaimPart, text: str) -> bool:
    """Return whether a text has all values of a number, year or date, or all words of another part, anywhere."""
    values = values_of(part.text)
    if part.kind in _NUMERIC and values:
        return values <= values_of(text)
    return stems(part.text) <= stems(text)


def stems(text: str) -> set[str]:
    """Return the words of a text that carry meaning, without their endings "s", "es", "d", "ed" and "ing"."""
    return {_ENDING.sub("", term) for term in terms_of(text) if term not in _STOP_WORDS}


def values_of(text: str) -> frozenset[float]:
    """Return the values of the numbers and months of a text: digits, and words from "two" to "trillion"."""
    values: list[float] = []
    open_number = False
    for token in re.findall(r"\d+(?:[.,]\d+)*|[^\W\d_]+", text.casefold()):
        if token[0].isdecimal():
            values.append(_parsed(token))
            open_number = True
        elif token in _POWERS and open_number:
            values[-1] *= 10.0 ** _POWERS[token]
        elif token in _POWERS:
            values.append(10.0 ** _POWERS[token])
            open_number = True
        elif token in _VALUES:
            if open_number and token in _UNITS[:10] and values[-1] in {_VALUES[ten] for ten in _TENS}:
                values[-1] += _VALUES[token]
            else:
                values.append(_VALUES[token])
            open_number = True
        else:
            if token in _MONTHS:
                values.append(-1.0 - _MONTHS.index(token))  # below all numbers
            open_number = False
    return frozenset(values)


def _parsed(digits: str) -> float:
    """Return the value of digits; a comma before three digits separates thousands."""
    plain = re.sub(r",(?=\d{3}(?!\d))", "", digits).replace(",", ".")
    head, *rest = plain.split(".")
    return float(f"{head}.{''.join(rest)}") if rest else float(head)


def is_negated(text: str) -> bool:
    """Return whether a text has an odd number of words such as "not" and "never"."""
    return len(_NEGATION.findall(text)) % 2 == 1
