"""A question -> the passages of many documents that share most with it.

    index = PassageIndex.of(documents)      of documents in memory
    index = PassageIndex.open(folder)       of a folder that `build_index` wrote
    index.search("Who built the tower?", 20)

An index that was opened answers without the files of its documents, and goes on to do so while the folder is built
again. Any number of threads may share it. Left out: reading the passages (ask.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.errors import InputError, quoted, shown
from qa_onnx.machine.packages import require
from qa_onnx.options import check_bounds, check_type
from qa_onnx.retrieval.content import collect, passage_bounds
from qa_onnx.retrieval.scoring import best
from qa_onnx.retrieval.terms import terms_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.documents.document import Document
    from qa_onnx.retrieval.content import IndexContent, LazyDocument

# Words that make a question and say little about its subject. To leave them out finds 0.9 % more passages among
# the first five (benchmarks/retrieval.py); a whole list of stop words finds fewer.
QUESTION_WORDS = frozenset(
    "what which who whom whose when where why how do does did is are was were".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that a search found.

    Attributes:
        document: its name.
        start: index in the document's text of its first character.
        end: index after its last character.
        text: from `start` to `end`.
        score: of BM25 for the question; 0: it shares no term with it.
    """

    document: str
    start: int
    end: int
    text: str
    score: float


class PassageIndex:
    """Passages of documents, and the scores of their terms; see the module.

    Attributes:
        content: all that it holds.
        place: the folder that it was opened from; None: it was made in memory.
    """

    def __init__(self, content: IndexContent, place: Path | None = None) -> None:
        self.content = content
        self.place = place
        self._firsts = passage_bounds(content.documents)

    @classmethod
    def of(cls, documents: Iterable[Document | LazyDocument]) -> PassageIndex:
        """Make an index of documents in memory.

        Raises:
            InputError: two documents have one name, or something is of a wrong type or too large.
            MissingExtraError: bm25s is not installed.
        """
        require("search")
        content, _ = collect(documents)
        return cls(content)

    @classmethod
    def open(cls, folder: str | Path) -> PassageIndex:
        """Open an index that `build_index` wrote; all of its files are compared with their hashes.

        Raises:
            InputError: there is none, it is damaged, or a newer release wrote it.
            MissingExtraError: bm25s is not installed.
        """
        from qa_onnx.retrieval.storage import read_index

        require("search")
        return cls(*read_index(folder))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The number of each document, by its name; there may be millions."""
        return {document.name: number for number, document in enumerate(self.content.documents)}

    def __len__(self) -> int:
        return len(self.content.starts)

    @property
    def documents(self) -> tuple[str, ...]:
        """The names of its documents."""
        return tuple(self._numbers)

    def text(self, document: str) -> str:
        """Return the whole text of a document, by its name.

        Raises:
            InputError: there is none, or the folder of the index is damaged.
        """
        number = self._numbers.get(document)
        if number is None:
            raise InputError(f"the index has no document {quoted(document)}")
        first, stop = self._firsts[number : number + 2]
        return "".join(self.passage(part).text for part in range(int(first), int(stop)))

    def search(self, question: str, count: int = 20) -> list[Passage]:
        """Return the passages with the highest scores, best first.

        Passages that share no term with the question come last, in the order of the documents.

        Args:
            question: in plain words.
            count: of passages at most.

        Raises:
            InputError: an argument is of a wrong type, or the folder of the index is damaged.
        """
        scores = self.scores(question)
        check_bounds("count", count)
        return [self.passage(int(number), float(scores[number])) for number in best(scores, count)]

    def scores(self, question: str) -> NDArray[np.float32]:
        """Return the score of each passage for a question, float32 (P,)."""
        check_type("the question", question, str, "a str")
        words = terms_of(question)
        words = [word for word in words if word not in QUESTION_WORDS] or words
        vocabulary = self.content.vocabulary
        return self.content.scores.of([vocabulary[word] for word in words if word in vocabulary])

    def passage(self, number: int, score: float = 0.0) -> Passage:
        """Return a passage by its number, 0 to `len(index) - 1`, with a score."""
        content = self.content
        start, stop = content.text_bounds[number : number + 2].tolist()
        document = int(np.searchsorted(self._firsts, number, side="right")) - 1
        name, first = content.documents[document].name, int(content.starts[number])
        last = number + 1 == self._firsts[document + 1]
        try:
            text = bytes(content.texts[start:stop]).decode("utf-8", "surrogatepass")
            if not last and first + len(text) != content.starts[number + 1]:
                raise ValueError("its length is wrong")
        except ValueError as error:
            raise InputError(
                f"passage {number:,} of the index {shown(str(self.place))} is damaged: {error}",
                remedy="build the index again",
            ) from error
        return Passage(name, first, first + len(text), text, score)
