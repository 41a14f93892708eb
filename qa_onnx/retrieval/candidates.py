"""An index and a question -> the passages in the order in which they are worth reading.

Left out: how many are read (reading.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.retrieval.scoring import best

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.retrieval.index import Passage, PassageIndex


def ranked(index: PassageIndex, question: str, count: int) -> Iterator[Passage]:
    """Return all passages, those that share most with the question first.

    Args:
        index: of the passages.
        question: in plain words.
        count: about how many are wanted; more are put in order when those were not enough.

    Raises:
        InputError: the question is no text; or, while passages are taken, the folder of the index is damaged.
    """
    return _passages(index, index.scores(question), 4 * count)


def _passages(index: PassageIndex, scores: NDArray[np.float32], count: int) -> Iterator[Passage]:
    done = 0
    while done < len(scores):
        for number in best(scores, count)[done:].tolist():
            yield index.passage(number, float(scores[number]))
        done, count = count, 4 * count


def distinct(passages: Iterable[Passage]) -> Iterator[Passage]:
    """Yield passages of equal texts once, the first of them."""
    seen = set[str]()
    for passage in passages:
        if passage.text not in seen:
            seen.add(passage.text)
            yield passage
