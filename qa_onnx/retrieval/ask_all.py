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
from qa_onnx.retrieval.ask import AT_ONCE, DocumentAnswer, DocumentAnswers
from qa_onnx.retrieval.index import Passage, PassageIndex
from qa_onnx.retrieval.passages import cut_passages
from qa_onnx.retrieval.steps import check_call, read_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qa_onnx.answers import Prediction
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.retrieval.steps import ReadingSteps

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
    started = time.perf_counter()
    check_call(question, 1 if read is None else read, seconds)
    options = options_for_all(reader.resolve(options))
    if not isinstance(documents, PassageIndex):
        check_type("documents", documents, Iterable, "a PassageIndex or some Documents")
        documents = documents if read is None else PassageIndex.of(documents)
    passages = _passages(documents, question, read)
    total = len(documents) if isinstance(documents, PassageIndex) else len(passages)
    at_once = _AT_ONCE if seconds is None else AT_ONCE
    steps = collect_all(
        reader, passages, total=total, at_once=at_once, started=started, options=options, seconds=seconds
    )
    return read_steps(reader, question, steps, options=options, total=len(passages), on_read=on_read)


def options_for_all(options: Options) -> Options:
    """Return options for passages, of which every answer that is probable enough is to be listed."""
    least = options.min_probability or LEAST_PROBABILITY
    # At most 1 / least answers of a passage are so probable; seldom is one not among the best 2 / least.
    most = min(int(2 / least), int(BOUNDS["n_best"].high))
    return replace(options, n_best=most, min_probability=least, overlapping=False)


def collect_all(
    reader: Reader,
    passages: Sequence[Passage],
    *,
    total: int,
    at_once: int,
    started: float,
    options: Options,
    seconds: float | None = None,
) -> ReadingSteps:
    """Collect all answers of passages, step by step, for callers that do the reading themselves.

    Args:
        reader: whose null threshold is used.
        passages: to be read, in this order.
        total: number of passages that there are.
        at_once: passages of a step.
        started: when the call began, as `time.perf_counter` counts.
        options: from `options_for_all`.
        seconds: begin no step that is expected to end later than this after `started`; None: no limit.

    Yields:
        The next passages to read; send their predictions.

    Returns:
        The answers, see `ask_all`.
    """
    threshold = options.threshold(reader.null_threshold)
    answers: list[DocumentAnswer] = []
    warnings: dict[str, None] = {}
    done, null_probability, late = 0, 1.0, False
    while done < len(passages) and not late:
        some = list(passages[done : done + at_once])
        predictions = yield some
        for passage, prediction in zip(some, predictions or (), strict=True):
            null_probability = min(null_probability, prediction.null_probability)
            warnings.update(dict.fromkeys(text for text in prediction.warnings if "question" in text))
            answers += _answers(passage, prediction, options.min_probability, threshold)
        done += len(some)
        late = seconds is not None and (time.perf_counter() - started) * (1 + at_once / done) > seconds
    answers.sort(key=lambda answer: -answer.score)  # stable: equal scores stay in the order of reading
    return DocumentAnswers(
        tuple(answers),
        null_probability,
        done,
        total,
        "seconds" if done < len(passages) else "all read" if done == total else "read",
        time.perf_counter() - started,
        threshold,
        tuple(warnings),
    )


def _passages(documents: PassageIndex | Iterable[Document], question: str, read: int | None) -> list[Passage]:
    """Return the passages to read, the best ones first where not all are."""
    if not isinstance(documents, PassageIndex):
        return [passage for document in documents for passage in _passages_of(document)]
    if read is None:
        return [documents.passage(number) for number in range(len(documents))]
    return documents.search(question, read)


def _passages_of(document: Document) -> Iterator[Passage]:
    check_type("a document", document, Document, "a Document")
    for start, end in cut_passages(document.text, name=document.name):
        yield Passage(document.name, start, end, document.text[start:end], 0.0)


def _answers(
    passage: Passage, prediction: Prediction, least: float, threshold: float | None
) -> Iterator[DocumentAnswer]:
    """Yield the answers of a passage that are probable enough and pass the null threshold."""
    for answer in prediction.answers:
        score = answer.score - prediction.null_score
        if answer.probability >= least and (threshold is None or -score <= threshold):
            yield DocumentAnswer(
                passage.document,
                answer.text,
                passage.start + answer.start,
                passage.start + answer.end,
                score,
                answer.probability,
                passage,
            )
