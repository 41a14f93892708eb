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
from typing import TYPE_CHECKING

from qa_onnx.options import check_type
from qa_onnx.retrieval.candidates import ranked
from qa_onnx.retrieval.document_answers import DocumentAnswer, DocumentAnswers
from qa_onnx.retrieval.index import PassageIndex
from qa_onnx.retrieval.reading import Budget, Reading, check_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx.answers import Answer, Prediction
    from qa_onnx.documents.document import Document
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.retrieval.content import LazyDocument
    from qa_onnx.retrieval.index import Passage

# w above: logits for each point of BM25. Of 0 to 3 the best on 350 questions of SQuAD, by little from 0.5 to 1.3.
BM25_WEIGHT = 0.7
# Logits above "no answer" that few wrong passages reach. An unread passage has at most the BM25 score of the next
# one, so reading stops where the best score is so far above what that one would have. The lowest value with which
# the same 350 questions lost no F1; they read 8 of 20 passages. It is one for the scores of the default model.
_SURE = 14.0


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
    budget = Budget(read=read, seconds=seconds, started=time.perf_counter())
    check_call(question, read, seconds)
    options = reader.resolve(options)
    if not isinstance(documents, PassageIndex):
        check_type("the documents", documents, Iterable, "a PassageIndex or some Documents")
        documents = PassageIndex.of(documents)
    return read_best(reader, question, documents, budget, options, stop_early=stop_early).run(reader, on_read)


def read_best(
    reader: Reader,
    question: str,
    index: PassageIndex,
    budget: Budget,
    options: Options,
    *,
    stop_early: bool = True,
) -> Reading:
    """Begin to read for a question, for callers that do the reading themselves.

    Args:
        reader: of which temperature and null threshold are used.
        question: in plain words.
        index: of the documents.
        budget: how much is read.
        options: of the reader.
        stop_early: see `ask_documents`.
    """
    return Reading(
        question,
        ranked(index, question, len(index) if budget.read is None else budget.read),
        _Best(reader.steps.temperature_for(options), options.n_best, stop_early=stop_early),
        budget,
        total=len(index),
        options=options,
        threshold=options.threshold(reader.null_threshold),
        equal_once=True,
    )


class _Best:
    """The best answers of the passages that were read, on one scale; see the module.

    Args:
        temperature: divides scores.
        count: of answers.
        stop_early: whether reading may stop when the best answer is expected to stay so.
    """

    def __init__(self, temperature: float, count: int, *, stop_early: bool) -> None:
        self._temperature, self._count, self._stop_early = temperature, count, stop_early
        self._predictions: list[tuple[Passage, Prediction]] = []  # in the order of the ranks
        self._highest = -math.inf

    def add(self, passage: Passage, prediction: Prediction) -> None:
        """Add a prediction."""
        self._predictions.append((passage, prediction))
        if prediction.answers:
            self._highest = max(self._highest, self._score(passage, prediction, prediction.answers[0]))

    def is_sure(self, following: Passage) -> bool:
        """Return whether the best answer is expected to stay so, with this passage as the best unread one."""
        if not self._stop_early or not self._predictions:
            return False
        return self._highest >= _SURE - self._against(following)

    def _score(self, passage: Passage, prediction: Prediction, answer: Answer) -> float:
        return answer.score - prediction.null_score - self._against(passage)

    def _against(self, passage: Passage) -> float:
        """Return what BM25 says against a passage, in logits; 0 for the best one."""
        return BM25_WEIGHT * (self._predictions[0][0].score - passage.score)

    def answers(self) -> tuple[tuple[DocumentAnswer, ...], float]:
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
            DocumentAnswer.of(passage, answer, score, min(1.0, null_probability * odds_of_it))
            for score, odds_of_it, passage, answer in scored[: self._count]
        )
        return answers, null_probability
