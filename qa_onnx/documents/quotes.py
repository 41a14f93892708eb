"""Quote and text -> where the quote stands in the text, and with which differences, or that it does not.

For those who check the citations of a generated text. Three verdicts, best first:

- exact: the characters of the quote, without white space at its ends, stand there one for one;
- normalised: they do after the changes of folding.py, of which the match names those that were needed;
- shortened: the quote leaves something out, with "…", "..." or "[...]", and its parts stand there in this
  order, as whole words, each at most `LONGEST_GAP` characters after the one before.

A letter, digit, accent or punctuation mark that differs is no match, and a match never begins or ends inside a
character with its marks. What a shortened quote leaves out may be a "not": look at `text`.

A quote that a line end breaks after a hyphen is read with the hyphen and without, but in one way for the whole
quote; one that begins with the hyphen of a line end is found exactly or not at all. Left out: what comes closest
to a quote that stands nowhere (nearest.py).
"""

from __future__ import annotations

import heapq
import re
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from qa_onnx.documents.comparison import QuoteComparison
from qa_onnx.documents.evidence import stands_alone
from qa_onnx.documents.folding import CHANGES, fold
from qa_onnx.documents.prepared_text import PreparedText
from qa_onnx.errors import InputError
from qa_onnx.tokens.boundaries import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qa_onnx.documents.folding import FoldedText

LONGEST_QUOTE = 10_000  # characters
LONGEST_GAP = 1_000  # characters that a quote leaves out at one place
MOST_PARTS = 20  # of a shortened quote

# A search gives up after so many places that hold the characters but cut a letter from its mark: no text of a
# language has them, and each costs as much as the quote is long.
_MOST_REFUSED = 10_000
_MOST_PLACES = 10_000  # of each part of a shortened quote

_OMISSION = re.compile(r"\[\s{0,9}(?:…|\.{3})\s{0,9}\]|\(\s{0,9}(?:…|\.{3})\s{0,9}\)|…|\.{3,}")

Verdict = Literal["exact", "normalised", "shortened"]


@dataclass(frozen=True, slots=True)
class QuoteMatch:
    """A place at which a quote stands.

    Attributes:
        verdict: exact, normalised or shortened; see the top of this file.
        text: what stands there: `document[start:end]`.
        start: index of its first character (code point).
        end: index after its last one.
        changes: names of the changes without which quote and text differ, in the order of `CHANGES`.
        widened: an end of the quote lies inside a ligature (or another character that stands for several), which
            the range holds as a whole.
        whole_words: neither end of the range lies inside a word, as "30 days" does in "130 days".
        parts: start and end of each part of a shortened quote; of others that of the whole.
    """

    verdict: Verdict
    text: str
    start: int
    end: int
    changes: tuple[str, ...]
    widened: bool
    whole_words: bool
    parts: tuple[tuple[int, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)


def find_quote(quote: str, text: str | PreparedText) -> QuoteMatch | None:
    """Return the best place at which a quote stands, or None where it stands nowhere.

    Exact comes before normalised, and normalised before shortened; among the first places of the same verdict one
    of whole words comes first.

    Args:
        quote: what is looked for; white space at its ends does not count.
        text: the document; prepare it (`PreparedText(text)`) if you look for many quotes.

    Raises:
        InputError: see `find_quotes`.
    """
    return best_match(find_quotes(quote, text))


def best_match(matches: Iterator[QuoteMatch]) -> QuoteMatch | None:
    """Return the best of matches that come in the order of `find_quotes`, as `find_quote` does."""
    first = next(matches, None)
    if first is None or first.whole_words:
        return first
    others = (match for match in islice(matches, _MOST_PLACES) if match.whole_words)
    best = next(others, first)
    return best if best.verdict == first.verdict else first


def find_quotes(quote: str, text: str | PreparedText) -> Iterator[QuoteMatch]:
    """Yield all places at which a quote stands: exact ones, then normalised ones, then shortened ones.

    Those of one verdict come in the order of the text and do not overlap; a normalised one overlaps no exact one.
    A quote that begins with a combining mark, without the letter that it belongs to, may not be found.

    Args:
        quote: what is looked for; white space at its ends does not count.
        text: the document, prepared or not.

    Raises:
        InputError: the quote is no str, holds nothing but white space and soft hyphens, or has more than
            `LONGEST_QUOTE` characters or `MOST_PARTS` parts; or the text is not usable.
    """
    quote = checked_quote(quote)
    prepared = text if isinstance(text, PreparedText) else PreparedText(text)
    parts = [part.strip() for part in _OMISSION.split(quote)]
    is_shortened = len(parts) > 1
    parts = [part for part in parts if any(map(str.isalnum, part))]
    if len(parts) > MOST_PARTS:
        raise InputError(
            f"the quote leaves something out {len(parts) - 1} times, at most {MOST_PARTS - 1} are read"
        )
    return _found(quote, prepared, parts if is_shortened else [])


def checked_quote(quote: str) -> str:
    """Return a quote without white space at its ends.

    Raises:
        InputError: it is not usable.
    """
    if not isinstance(quote, str):
        raise InputError(f"the quote is of type {type(quote).__name__}: give a str")
    if len(quote) > LONGEST_QUOTE:
        raise InputError(
            f"the quote has {len(quote):,} characters, at most {LONGEST_QUOTE:,} are looked for",
            remedy="look for its sentences one by one",
        )
    quote = quote.strip()
    if not fold(quote).strip():
        raise InputError("the quote holds nothing to look for but white space and soft hyphens")
    return quote


def _found(quote: str, prepared: PreparedText, parts: list[str]) -> Iterator[QuoteMatch]:
    text = prepared.text
    for start, end, changes, widened in _plain(quote, prepared):
        verdict: Verdict = "normalised" if changes else "exact"
        alone = stands_alone(text, start, end)
        yield QuoteMatch(verdict, text[start:end], start, end, changes, widened, alone, ((start, end),))
    if parts:
        yield from _shortened(parts, prepared)


_Range = tuple[int, int, tuple[str, ...], bool]  # start, end, changes (none: exact), widened


def _plain(quote: str, prepared: PreparedText) -> Iterator[_Range]:
    """Yield the ranges of the exact matches, then those of the normalised ones."""
    text, exact = prepared.text, array("q")
    length = len(quote)

    def is_whole(at: int) -> tuple[int, int, bool] | None:
        return (at, at + length, False) if _is_whole(text, at, at + length) else None

    for start, end, _ in _places(text, quote, is_whole):
        exact.append(start)
        yield start, end, (), False
    compared = QuoteComparison(quote)
    end_of_last = 0
    for start, end, widened in _folded_places(prepared, compared):
        next_exact = bisect_left(exact, start - length + 1)
        overlaps = next_exact < len(exact) and exact[next_exact] < end
        if start >= end_of_last and not overlaps:
            yield start, end, compared.changes(text[start:end], widened=widened) or (), widened
            end_of_last = end


def _folded_places(prepared: PreparedText, compared: QuoteComparison) -> Iterator[tuple[int, int, bool]]:
    """Yield the ranges at which a quote stands after all changes, in the order of the text."""

    def places(folded: FoldedText, needle: str) -> Iterator[tuple[int, int, bool]]:
        def accept(at: int) -> tuple[int, int, bool] | None:
            found = folded.range(at, at + len(needle))
            if found is None or not _is_whole(folded.original, *found[:2]):
                return None
            start, end, widened = found
            return found if compared.changes(folded.original[start:end], widened=widened) is not None else None

        return _places(folded.folded, needle, accept)

    return heapq.merge(*(places(folded, needle) for folded in prepared.folded for needle in compared.needles))


def _places(
    text: str, needle: str, accept: Callable[[int], tuple[int, int, bool] | None]
) -> Iterator[tuple[int, int, bool]]:
    """Yield what `accept` makes of the places of a needle, from the left, without overlap."""
    at = refused = 0
    while (at := text.find(needle, at)) >= 0 and refused < _MOST_REFUSED:
        place = accept(at)
        if place is None:
            refused += 1
            at += 1
        else:
            yield place
            at += len(needle)


def _is_whole(text: str, start: int, end: int) -> bool:
    """Return whether a range consists of whole characters, each with all of its marks."""
    return whole(text, start, end, align_to_words=False) == (start, end)


def _shortened(parts: list[str], prepared: PreparedText) -> Iterator[QuoteMatch]:
    """Yield where the parts stand in order, as whole words, each as near to the one before as can be."""
    text, end_of_last = prepared.text, 0
    for chain in _chains([_places_of_words(part, prepared) for part in parts]):
        start, end = chain[0][0], chain[-1][1]
        if start >= end_of_last:
            needed = {change for place in chain for change in place[2]}
            yield QuoteMatch(
                verdict="shortened",
                text=text[start:end],
                start=start,
                end=end,
                changes=tuple(change for change in CHANGES if change in needed),
                widened=any(place[3] for place in chain),
                whole_words=True,
                parts=tuple(place[:2] for place in chain),
            )
            end_of_last = end


def _places_of_words(part: str, prepared: PreparedText) -> list[_Range]:
    places = islice(_plain(part, prepared), _MOST_PLACES)
    return sorted(place for place in places if stands_alone(prepared.text, *place[:2]))


def _chains(places: list[list[_Range]]) -> Iterator[list[_Range]]:
    """Yield, for each place of the last part that can be reached, the places of all parts.

    Each place is reached from the last one of the part before that ends in front of it.
    """
    reached = [(place, -1) for place in places[0]]  # with the index of the place before
    steps = [reached]
    for some in places[1:]:
        ends = [place[1] for place, _ in reached]
        before = [bisect_right(ends, place[0]) - 1 for place in some]
        reached = [
            (place, at)
            for place, at in zip(some, before, strict=True)
            if at >= 0 and place[0] - ends[at] <= LONGEST_GAP
        ]
        steps.append(reached)
    for last in range(len(reached)):
        chain, at = [], last
        for step in reversed(steps):
            place, at = step[at]
            chain.append(place)
        yield chain[::-1]
