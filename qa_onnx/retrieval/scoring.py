"""Terms of passages -> a matrix of BM25 scores -> the scores of a question; by the library bm25s (extra `search`).

The score of a term in a passage is known when the index is built (Lù 2024, "BM25S: Orders of magnitude faster
lexical search via eager sparse scoring"), so a question adds up one column for each of its terms:

    idf(t) * tf / (tf + k1 * (1 - b + b * length / mean length)),    idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))

which is Lucene's variant of the formula (Kamphuis et al. 2020). Left out: what a term is (terms.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

K1, B = 1.5, 0.75  # the library's defaults; benchmarks/retrieval.py compares others


@dataclass(frozen=True, slots=True)
class TermScores:
    """Scores of T terms in P passages, the columns of a sparse matrix one after the other.

    Attributes:
        values: float32 (N,), the scores that are not 0.
        passages: int32 (N,), the passage of each score; ascending in each column.
        columns: int64 (T + 1,), the first score of each term, and N.
        count: P.
    """

    values: NDArray[np.float32]
    passages: NDArray[np.int32]
    columns: NDArray[np.int64]
    count: int

    def of(self, terms: Sequence[int]) -> NDArray[np.float32]:
        """Return the score of each passage, float32 (P,), for a question of these terms."""
        scores = np.zeros(self.count, np.float32)
        for term in terms:
            column = slice(*self.columns[term : term + 2])
            scores[self.passages[column]] += self.values[column]  # a passage is in a column once
        return scores


class _Rows:
    """The terms of each passage as lists, which are made one at a time."""

    def __init__(self, terms: NDArray[np.uint32], bounds: NDArray[np.int64]) -> None:
        self._terms, self._bounds = terms, bounds.tolist()

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in pairwise(self._bounds):
            yield self._terms[start:end].tolist()


def score_terms(terms: NDArray[np.uint32], bounds: NDArray[np.int64], vocabulary_size: int) -> TermScores:
    """Compute the scores of all terms.

    Args:
        terms: uint32, the terms of all passages, one passage after the other.
        bounds: int64 (P + 1,), the first term of each passage, and the number of all terms.
        vocabulary_size: T; terms are below it.
    """
    count = len(bounds) - 1
    if not len(terms):
        columns = np.zeros(vocabulary_size + 1, np.int64)
        return TermScores(np.zeros(0, np.float32), np.zeros(0, np.int32), columns, count)
    import bm25s

    model = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy", csc_backend="numpy")
    scores = model.build_index_from_ids(range(vocabulary_size), _Rows(terms, bounds), show_progress=False)
    return TermScores(
        scores["data"].astype(np.float32, copy=False),
        scores["indices"].astype(np.int32, copy=False),
        scores["indptr"].astype(np.int64, copy=False),
        count,
    )


def best(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the indices of the highest scores, best first; of equal scores the first one is the better."""
    if count <= 0:
        return np.zeros(0, np.int64)
    if count >= len(scores):
        return np.argsort(-scores, kind="stable")
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > least)
    equal = np.flatnonzero(scores == least)[: count - len(above)]
    return np.concatenate((above[np.argsort(-scores[above], kind="stable")], equal))
