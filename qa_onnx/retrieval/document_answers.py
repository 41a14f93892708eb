"""DocumentAnswers: what many documents answer to a question, and how much of them was read for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from qa_onnx.answers import Answer, Prediction

if TYPE_CHECKING:
    from qa_onnx.retrieval.index import Passage

Stopped = Literal["all read", "read", "seconds", "sure"]


@dataclass(frozen=True, slots=True)
class DocumentAnswer:
    """A piece of a document that answers a question.

    Attributes:
        document: name of the document.
        text: the document's text from `start` to `end`.
        start: index of its first character in the document's text.
        end: index after its last character.
        score: logits above "no answer", less what BM25 says against its passage; see the module.
        probability: share of all spans that overlap it, among those of all passages that were read and "no
            answer", 0 to 1; with `Options.overlapping` its own.
        passage: where it was read.
    """

    document: str
    text: str
    start: int
    end: int
    score: float
    probability: float
    passage: Passage

    @classmethod
    def of(cls, passage: Passage, answer: Answer, score: float, probability: float) -> DocumentAnswer:
        """Make one of an answer in a passage, with a score and probability beyond that passage."""
        start, end = passage.start + answer.start, passage.start + answer.end
        return cls(passage.document, answer.text, start, end, score, probability, passage)


@dataclass(frozen=True, slots=True)
class DocumentAnswers:
    """The answers of many documents to a question.

    Attributes:
        answers: the n best, best first; no place twice.
        null_probability: the share of "no answer".
        read: number of passages that were read.
        passages: number of passages that there are.
        stopped: why no more were read: "all read"; "read" or "seconds", the limits of the call; or "sure", when no
            other passage was expected to have a better answer.
        seconds: that the search and the reading took.
        null_threshold: of the call; see `best`.
        warnings: of the model, such as a question that was cut.
    """

    answers: tuple[DocumentAnswer, ...]
    null_probability: float
    read: int
    passages: int
    stopped: Stopped
    seconds: float
    null_threshold: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> DocumentAnswer | None:
        """The best answer; None where there is none, or "no answer" is better by more than the null threshold."""
        first = self.answers[0] if self.answers else None
        if first is None or (self.null_threshold is not None and -first.score > self.null_threshold):
            return None
        return first

    @property
    def prediction(self) -> Prediction:
        """The answers as those of one text; scores are logits above "no answer", so its own is 0."""
        answers = tuple(Answer(a.text, a.start, a.end, a.score, a.probability) for a in self.answers)
        return Prediction(answers, 0.0, self.null_probability, self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)
