"""Folded text -> its words by number, and the places of each: for nearest.py.

A word is a run of letters, digits and marks, one character of Chinese or Japanese, or one character of
punctuation. Left out: white space; what words look like before they are folded (folding.py).
"""

from __future__ import annotations

from array import array
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.documents.folding import UNSPACED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_LONGEST = 64  # characters of a word; longer ones are read as several


@cache
def _pattern() -> Any:
    import regex

    return regex.compile(rf"(?V1)[{UNSPACED}]|[\w--[{UNSPACED}]]{{1,{_LONGEST}}}|[^\s\w]")


def words(folded: str) -> Iterator[tuple[int, str]]:
    """Yield the words of a folded text, each with the index of its first character."""
    for match in _pattern().finditer(folded):
        yield match.start(), match.group()


class WordIndex:
    """The words of a text.

    Attributes:
        numbers: number of each distinct word.
        ids: int32 (words), the number of each word of the text.
        starts: int32 (words), the index of its first character.
        counts: int64 (distinct words), how often each stands in the text.
    """

    def __init__(self, folded: str) -> None:
        self.numbers: dict[str, int] = {}
        ids, starts = array("i"), array("i")
        for start, word in words(folded):
            ids.append(self.numbers.setdefault(word, len(self.numbers)))
            starts.append(start)
        self.ids: NDArray[np.int32] = np.frombuffer(ids, np.int32) if ids else np.zeros(0, np.int32)
        self.starts: NDArray[np.int32] = np.frombuffer(starts, np.int32) if starts else np.zeros(0, np.int32)
        self.counts = np.bincount(self.ids, minlength=len(self.numbers))
        self._order = np.argsort(self.ids, kind="stable").astype(np.int32)
        self._begins = np.concatenate([[0], np.cumsum(self.counts)])
        self._lengths = np.array([len(word) for word in self.numbers], np.int32)

    def positions(self, number: int, limit: int) -> NDArray[np.int32]:
        """Return the positions of a word among the words of the text, in order, the first `limit` of them."""
        begin, end = self._begins[number], self._begins[number + 1]
        return self._order[begin : min(end, begin + limit)]

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """Return the start and end, in the folded text, of the words from `first` to `last`, both included."""
        return int(self.starts[first]), int(self.starts[last] + self._lengths[self.ids[last]])
