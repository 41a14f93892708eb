"""An index and a question -> the passages in the order in which they are worth reading, those of equal texts once.

Left out: when to stop (ask.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.retrieval.scoring import best

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx.retrieval.index import Passage, PassageIndex


class Candidates:
    """The best passages of an index, best first, those of equal texts once.

    Attributes:
        left: number of passages that were not looked at.
    """

    def __init__(self, index: PassageIndex, question: str, count: int) -> None:
        self._index, self._scores = index, index.scores(question)
        self._count, self._seen = count, set[str]()
        self._sorted = 0  # passages that were put in order so far
        self._numbers: Iterator[int] = iter(())
        self.left = len(self._scores)

    def take(self, count: int) -> list[Passage]:
        """Return so many of the next ones; fewer where there are no more."""
        found: list[Passage] = []
        while len(found) < count and len(self._seen) < self._count and self.left:
            number = self._next()
            passage = self._index.passage(number, float(self._scores[number]))
            if passage.text not in self._seen:
                self._seen.add(passage.text)
                found.append(passage)
        return found

    def _next(self) -> int:
        """Return the number of the next passage; more are put in order where equal ones used them up."""
        number = next(self._numbers, None)
        if number is None:
            done, self._sorted = self._sorted, 4 * max(self._sorted, self._count)
            self._numbers = iter(best(self._scores, self._sorted)[done:].tolist())
            number = next(self._numbers)
        self.left -= 1
        return number
