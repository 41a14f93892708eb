"""A question that may have several answers, and many documents -> all of its answers.

Passages do not compete here: each is read by itself, and has an answer where it would have one alone. Spans of one
passage do compete, so of two answers in one passage the second is found less often, and a list within a sentence
is often found as one answer. benchmarks/all_answers.py measures how many are found, and how many are wrong.

Left out: answers on one scale, and an early stop (ask.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from qa_onnx.documents.document import Document
from qa_onnx.options import BOUNDS, check_type
from qa_onnx.retrieval.candidates import ranked
from qa_onnx.retrieval.document_answers import DocumentAnswer, DocumentAnswers
from qa_onnx.retrieval.index import Passage, PassageIndex
from qa_onnx.retrieval.passages import cut_passages
from qa_onnx.retrieval.reading import AT_ONCE, Budget, Reading, check_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qa_onnx.answers import Prediction
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader

# The least probability of an answer in its passage, where the options have none.
LEAST_PROBABILITY = 0.1
_AT_ONCE = 64  # passages


def ask_all(
    reader: Reader,
    question: str,
    documents: PassageIndex | Iterable[Document],
    *,
    read: int | None = 50,
    seconds: float | None = None,
    options: Options | None = None,
    on_read: Callable[[int, int], object] | None = None,
) -> DocumentAnswers:
    """Find every answer to a question such as "Who signed?" in documents.

    Args:
        reader: reads the passages.
        question: in plain words.
        documents: an index; or documents, of which one is made for this call unless all passages are read.
        read: passages that are read at most, those that share most with the question; None: all of them.
        seconds: begin no passages that are expected to end later; the first ones are read in any case. None: no
            limit.
        options: of the reader; None: its own. In its passage an answer has to pass the null threshold, and to have
            the probability `min_probability`, or `LEAST_PROBABILITY` where that is 0. `n_best` limits nothing.
        on_read: is called after each step with the passages read so far and those that are read in all.

    Returns:
        All answers, best first, by logits above "no answer"; `probability` is the share in the passage. A text
        that answers in several places is there once for each. `null_probability` is the least of all passages.

    Raises:
        InputError: an argument is of a wrong type or out of range, or see `PassageIndex.of`.
        EngineError: the model cannot be run.
        MissingExtraError: bm25s is not installed, and not all passages are read.
    """
    at_once = _AT_ONCE if seconds is None else AT_ONCE
    budget = Budget(read=read, seconds=seconds, started=time.perf_counter(), at_once=at_once)
    check_call(question, 1 if read is None else read, seconds)
    options = reader.resolve(options)
    if not isinstance(documents, PassageIndex):
        check_type("documents", documents, Iterable, "a PassageIndex or some Documents")
        documents = documents if read is None else PassageIndex.of(documents)
    return read_every(reader, question, documents, budget, options).run(reader, on_read)


def read_every(
    reader: Reader,
    question: str,
    documents: PassageIndex | Iterable[Document],
    budget: Budget,
    options: Options,
) -> Reading:
    """Begin to read for every answer, for callers that do the reading themselves.

    Args:
        reader: whose null threshold is used.
        question: in plain words.
        documents: an index; or documents, of which all passages are read.
        budget: how much is read.
        options: of the reader, from which those for the passages are made.
    """
    options = _for_all(options)
    threshold = options.threshold(reader.null_threshold)
    passages: Iterable[Passage]
    if not isinstance(documents, PassageIndex):
        passages = all_of_them = [passage for document in documents for passage in _passages_of(document)]
        total = len(all_of_them)
    else:
        total = len(documents)
        wanted = budget.read
        passages = map(documents.passage, range(total)) if wanted is None else ranked(documents, question, wanted)
    pool = _Every(options.min_probability, threshold)
    return Reading(question, passages, pool, budget, total=total, options=options, threshold=threshold)


def _for_all(options: Options) -> Options:
    """Return options for passages, of which every answer that is probable enough is to be listed."""
    least = options.min_probability or LEAST_PROBABILITY
    # At most 1 / least answers of a passage are so probable; seldom is one not among the best 2 / least.
    most = min(int(2 / least), int(BOUNDS["n_best"].high))
    return replace(options, n_best=most, min_probability=least, overlapping=False)


def _passages_of(document: Document) -> Iterator[Passage]:
    check_type("a document", document, Document, "a Document")
    for start, end in cut_passages(document.text, name=document.name):
        yield Passage(document.name, start, end, document.text[start:end], 0.0)


class _Every:
    """The answers that passages have by themselves, those that are probable enough and pass the null threshold.

    Args:
        least: probability of an answer in its passage.
        threshold: null threshold; None: all pass it.
    """

    def __init__(self, least: float, threshold: float | None) -> None:
        self._least, self._threshold = least, threshold
        self._answers: list[DocumentAnswer] = []
        self._null_probability = 1.0

    def add(self, passage: Passage, prediction: Prediction) -> None:
        """Add a prediction."""
        self._null_probability = min(self._null_probability, prediction.null_probability)
        for answer in prediction.answers:
            score = answer.score - prediction.null_score
            if answer.probability >= self._least and (self._threshold is None or -score <= self._threshold):
                self._answers.append(DocumentAnswer.of(passage, answer, score, answer.probability))

    def is_sure(self, following: Passage) -> bool:  # each passage may have an answer of its own
        """Return False."""
        return False

    def answers(self) -> tuple[tuple[DocumentAnswer, ...], float]:
        """Return the answers, best first, and the least probability of "no answer"."""
        answers = sorted(self._answers, key=lambda answer: -answer.score)  # equal scores in the order of reading
        return tuple(answers), self._null_probability
