"""Quote that stands nowhere in a text -> the passage that comes closest, and the words in which they differ.

Passages in which rare words of the quote stand together are candidates, and each of the best few is aligned
with the quote word by word: P. H. Sellers, "The theory and computation of evolutionary distances", 1980, whose
cheapest alignment with any part of a text needs no choice of a window. The work on a text of any size is
bounded.

Words are compared after the changes of folding.py. Left out: words that differ a little count as different
words; white space, so that a passage may differ in nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.documents.folding import FoldedText
from qa_onnx.documents.prepared_text import PreparedText
from qa_onnx.documents.quotes import checked_quote
from qa_onnx.documents.word_index import words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qa_onnx.documents.word_index import WordIndex

MOST_WORDS = 2_000  # of a quote that are compared, from its beginning
_MOST_PLACES = 100_000  # of the words of a quote in the text that are looked at, those of rare words first
_MOST_REPEATED = 8  # places of one word in the quote that are looked at
_CANDIDATES = 16
_NARROWEST = 8  # words


@dataclass(frozen=True, slots=True)
class WordChange:
    """Words of a quote, and what stands in the text instead; one of them may be empty.

    Attributes:
        quote: words of the quote.
        text: words of the text.
    """

    quote: str
    text: str


@dataclass(frozen=True, slots=True)
class NearPassage:
    """The passage of a text that comes closest to a quote.

    Attributes:
        text: the passage: `document[start:end]`.
        start: index of its first character (code point).
        end: index after its last one.
        similarity: 1 - words inserted, removed or replaced / words of the longer of quote and passage; 0 to 1.
        differences: the words that differ, in order.
    """

    text: str
    start: int
    end: int
    similarity: float
    differences: tuple[WordChange, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)


def nearest_passage(quote: str, text: str | PreparedText) -> NearPassage | None:
    """Return the passage that comes closest to a quote, or None where they have no word in common.

    Of equally close passages the first candidate is returned. Meant for quotes that `find_quote` does not find.

    Args:
        quote: what is looked for; of a quote of more than `MOST_WORDS` words the beginning.
        text: the document; prepare it (`PreparedText(text)`) if you look for many quotes.

    Raises:
        InputError: as by `find_quotes`.
    """
    folded_quote = FoldedText(checked_quote(quote))
    prepared = text if isinstance(text, PreparedText) else PreparedText(text)
    index = prepared.words
    tokens = list(words(folded_quote.folded))[:MOST_WORDS]
    ids = np.array([index.numbers.get(word, -1) for _, word in tokens], np.int32)
    alignments = [_align(ids, index.ids[low:high], low) for low, high in _candidates(ids, index)]
    alignments = [some for some in alignments if some.first < some.end]
    if not alignments:
        return None
    best = min(alignments, key=lambda some: some.cost / max(len(ids), some.end - some.first))
    folded = prepared.folded[0]

    def of_text(first: int, end: int) -> tuple[int, int]:
        return folded.cover(*index.characters(first, end - 1))

    def of_quote(first: int, end: int) -> tuple[int, int]:
        last_start, last = tokens[end - 1]
        return folded_quote.cover(tokens[first][0], last_start + len(last))

    start, end = of_text(best.first, best.end)
    return NearPassage(
        text=prepared.text[start:end],
        start=start,
        end=end,
        similarity=1 - best.cost / max(len(ids), best.end - best.first),
        differences=tuple(
            WordChange(
                folded_quote.original[slice(*of_quote(*ours))] if ours[0] < ours[1] else "",
                prepared.text[slice(*of_text(*theirs))] if theirs[0] < theirs[1] else "",
            )
            for ours, theirs in best.differences
        ),
    )


def _candidates(ids: NDArray[np.int32], index: WordIndex) -> list[tuple[int, int]]:
    """Return ranges of words of the text, best first, in which words of the quote stand in much the same order.

    Each place of a word votes for the place at which the quote would begin, and rare words count more.
    """
    known = [int(number) for number in np.unique(ids[ids >= 0])]
    known.sort(key=lambda number: int(index.counts[number]))
    width = max(_NARROWEST, len(ids) // 2)
    votes = np.zeros((len(index.ids) + len(ids)) // width + 2)
    left = _MOST_PLACES
    for number in known:
        if left <= 0:
            break
        weight = np.log1p(len(index.ids) / index.counts[number])
        for in_quote in np.flatnonzero(ids == number)[:_MOST_REPEATED]:
            positions = index.positions(number, max(left, 0))
            left -= len(positions)
            # Places before the beginning of the text are possible, so all are moved by the length of the quote.
            buckets = (positions - in_quote + len(ids)) // width
            votes[buckets] += weight  # once a bucket, however often the word stands there
    if not known:
        return []
    both = votes[:-1] + votes[1:]
    best = np.argsort(-both, kind="stable")[:_CANDIDATES]
    ranges = []
    for bucket in best[both[best] > 0].tolist():
        begin = bucket * width - len(ids)
        ranges.append((max(0, begin - width), min(len(index.ids), begin + 3 * width + len(ids))))
    return ranges


@dataclass(frozen=True, slots=True)
class _Alignment:
    """The cheapest alignment of a quote with a part of the text: words from `first` to before `end`."""

    cost: int
    first: int
    end: int
    differences: list[tuple[tuple[int, int], tuple[int, int]]]  # ranges of words of the quote and of the text


def _align(quote: NDArray[np.int32], text: NDArray[np.int32], shift: int) -> _Alignment:
    """Align all words of a quote with the part of a text that needs the fewest changes.

    Args:
        quote: int32 (N), the number of each word, -1 where it is not in the text.
        text: int32 (M), a part of the words of the text.
        shift: position of its first word in the text.
    """
    columns = np.arange(len(text) + 1, dtype=np.int16)
    costs = np.zeros(
        (len(quote) + 1, len(text) + 1), np.int16
    )  # of the first i words of the quote, ending at word j
    for row, word in enumerate(quote, 1):
        best = costs[row - 1] + np.int16(1)  # the word is not in the text
        np.minimum(best[1:], costs[row - 1, :-1] + (text != word), out=best[1:])
        costs[row] = np.minimum.accumulate(best - columns) + columns  # or the text has words in between
    end = int(np.argmin(costs[-1]))
    while end < len(text) and costs[-1, end + 1] == costs[-1, end]:
        end += 1  # replaced rather than removed
    row, column = len(quote), end
    differences: list[tuple[tuple[int, int], tuple[int, int]]] = []
    while row:
        cost = costs[row, column]
        same = column > 0 and quote[row - 1] == text[column - 1]
        if column and cost == costs[row - 1, column - 1] + (not same):
            before = (row - 1, column - 1)
        elif cost == costs[row - 1, column] + 1:
            before = (row - 1, column)
        else:
            before = (row, column - 1)
        if not (same and before == (row - 1, column - 1)):
            ours, theirs = (before[0], row), (before[1] + shift, column + shift)
            if differences and differences[-1][0][0] == row and differences[-1][1][0] == column + shift:
                ours, theirs = (before[0], differences[-1][0][1]), (theirs[0], differences.pop()[1][1])
            differences.append((ours, theirs))
        row, column = before
    return _Alignment(int(costs[-1, end]), column + shift, end + shift, differences[::-1])
