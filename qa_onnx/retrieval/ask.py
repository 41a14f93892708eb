"""A question and many documents -> answers: the passages that a search ranks first are read, the best ones first.

Scores of different passages are put on one scale, in logits:

    score = (start logit + end logit - null score) - w * (the best passage's BM25 score - this passage's)

The raw sum of logits says which span of a passage is the best, and little about whether the passage answers at
all; the null score says that, and BM25 adds a little. Over all that was read, `probability` is one softmax of
score / temperature over all spans, with "no answer" at the score 0, and that of an answer sums up its forms, as in
one text (groups.py). How other scales do is measured in benchmarks/retrieval.py.

Reading stops early once no unread passage is expected to matter; see `_SURE`. Left out: what a passage is
(passages.py) and how it is found (index.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from qa_onnx.answers import Answer, Prediction
from qa_onnx.options import check_type
from qa_onnx.retrieval.candidates import Candidates
from qa_onnx.retrieval.index import PassageIndex
from qa_onnx.retrieval.steps import check_call, read_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx.documents.document import Document
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.retrieval.content import LazyDocument
    from qa_onnx.retrieval.index import Passage
    from qa_onnx.retrieval.steps import ReadingSteps

# w above: logits for each point of BM25. Of 0 to 3 the best on 350 questions of SQuAD, by little from 0.5 to 1.3.
BM25_WEIGHT = 0.7
# Logits above "no answer" that few wrong passages reach. An unread passage has at most the BM25 score of the next
# one, so reading stops where the best score is so far above what that one would have. The lowest value with which
# the same 350 questions lost no F1; they read 8 of 20 passages. It is one for the scores of the default model.
_SURE = 14.0
AT_ONCE = 4  # passages that are read between two decisions to go on

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


def ask_documents(
    reader: Reader,
    question: str,
    documents: PassageIndex | Iterable[Document | LazyDocument],
    *,
    read: int = 50,
    seconds: float | None = None,
    stop_early: bool = True,
    options: Options | None = None,
    on_read: Callable[[int, int], object] | None = None,
) -> DocumentAnswers:
    """Answer a question from many documents.

    Args:
        reader: reads the passages.
        question: in plain words.
        documents: an index; or documents, of which one is made for this call.
        read: passages that are read at most; equal ones are read once.
        seconds: begin no passages that are expected to end later; the first ones are read in any case. None: no
            limit.
        stop_early: whether to stop as soon as no unread passage is expected to have a better answer.
        options: of the reader; None: its own.
        on_read: is called after each step with the passages read so far and those that may be read at most.

    Raises:
        InputError: an argument is of a wrong type or out of range, or see `PassageIndex.of`.
        EngineError: the model cannot be run.
        MissingExtraError: bm25s is not installed.
    """
    started = time.perf_counter()
    check_call(question, read, seconds)
    options = reader.resolve(options)
    if not isinstance(documents, PassageIndex):
        check_type("the documents", documents, Iterable, "a PassageIndex or some Documents")
        documents = PassageIndex.of(documents)
    steps = passages_to_read(
        reader,
        question,
        documents,
        read=read,
        seconds=seconds,
        stop_early=stop_early,
        started=started,
        options=options,
    )
    total = min(read, len(documents))
    return read_steps(reader, question, steps, options=options, total=total, on_read=on_read)


def passages_to_read(
    reader: Reader,
    question: str,
    index: PassageIndex,
    *,
    read: int,
    seconds: float | None,
    stop_early: bool = True,
    started: float,
    options: Options,
) -> ReadingSteps:
    """Choose what to read for a question, step by step, for callers that do the reading themselves.

    Args:
        reader: of which temperature and null threshold are used.
        question: in plain words.
        index: of the documents.
        read: see `ask_documents`; so are those that follow.
        seconds: from `started` on; see there.
        stop_early: see there.
        started: when the call began, as `time.perf_counter` counts.
        options: of the reader.

    Yields:
        The next passages to read; send their predictions.

    Returns:
        The answers, once no more is to be read.
    """
    pool = _Pool(reader.steps.temperature_for(options))
    candidates = Candidates(index, question, read)
    stopped: Stopped | None = None
    waiting = candidates.take(AT_ONCE)
    while waiting and stopped is None:
        predictions = yield waiting
        for passage, prediction in zip(waiting, predictions or (), strict=True):
            pool.add(passage, prediction)
        waiting = candidates.take(AT_ONCE)
        spent = time.perf_counter() - started
        if waiting and stop_early and pool.is_sure(waiting[0]):
            stopped = "sure"
        elif waiting and seconds is not None and spent * (1 + len(waiting) / pool.read) > seconds:
            stopped = "seconds"
    if stopped is None:
        stopped = "read" if candidates.left else "all read"
    answers, null_probability = pool.answers(options.n_best)
    return DocumentAnswers(
        answers,
        null_probability,
        pool.read,
        len(index),
        stopped,
        time.perf_counter() - started,
        options.threshold(reader.null_threshold),
        pool.warnings,
    )


class _Pool:
    """The predictions of the passages that were read, in the order of their ranks."""

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature
        self._predictions: list[tuple[Passage, Prediction]] = []
        self._highest = -math.inf

    @property
    def read(self) -> int:
        """Number of passages that were read."""
        return len(self._predictions)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the model says of the question; what it says of passages is not the user's matter."""
        all_of_them = (text for _, prediction in self._predictions for text in prediction.warnings)
        return tuple(dict.fromkeys(text for text in all_of_them if "question" in text))

    def add(self, passage: Passage, prediction: Prediction) -> None:
        """Add a prediction."""
        self._predictions.append((passage, prediction))
        if prediction.answers:
            self._highest = max(self._highest, self._score(passage, prediction, prediction.answers[0]))

    def is_sure(self, following: Passage) -> bool:
        """Return whether the best answer is expected to stay so, with this passage as the best unread one."""
        return self._highest >= _SURE - self._against(following)

    def _score(self, passage: Passage, prediction: Prediction, answer: Answer) -> float:
        return answer.score - prediction.null_score - self._against(passage)

    def _against(self, passage: Passage) -> float:
        """Return what BM25 says against a passage, in logits; 0 for the best one."""
        return BM25_WEIGHT * (self._predictions[0][0].score - passage.score)

    def answers(self, count: int) -> tuple[tuple[DocumentAnswer, ...], float]:
        """Return the best answers of all passages, and the probability of "no answer"."""
        scale = self._temperature
        # What a passage gives a probability of p is p / q times as likely as "no answer", which it gives q.
        weights = [
            math.exp(-self._against(passage) / scale) / max(prediction.null_probability, 1e-290)
            for passage, prediction in self._predictions
        ]
        odds = (
            weight * (1 - prediction.null_probability)
            for weight, (_, prediction) in zip(weights, self._predictions, strict=True)
        )
        null_probability = 1 / (1 + math.fsum(odds))
        scored = [
            (self._score(passage, prediction, answer), weight * answer.probability, passage, answer)
            for weight, (passage, prediction) in zip(weights, self._predictions, strict=True)
            for answer in prediction.answers
        ]
        scored.sort(key=lambda entry: -entry[0])  # equal scores stay in the order of the ranks
        answers = tuple(
            DocumentAnswer(
                passage.document,
                answer.text,
                passage.start + answer.start,
                passage.start + answer.end,
                score,
                min(1.0, null_probability * odds_of_it),
                passage,
            )
            for score, odds_of_it, passage, answer in scored[:count]
        )
        return answers, null_probability
