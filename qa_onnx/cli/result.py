"""Results of questions: the best answers over several documents, and answers as JSON objects."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qa_onnx.answers import Answer, Prediction
from qa_onnx.cli import progress
from qa_onnx.documents.document import Document
from qa_onnx.documents.evidence import evidence
from qa_onnx.retrieval.ask import ask_documents
from qa_onnx.retrieval.ask_all import ask_all
from qa_onnx.retrieval.index import PassageIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx import Options, Reader
    from qa_onnx.retrieval.document_answers import DocumentAnswers


_NONE = Answer("", 0, 0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class TextResult:
    """The answers to one question in all documents.

    Attributes:
        question: as the user asked it.
        answers: the n best over all documents, each with its document.
        prediction: as for one text; the null probability is the least of all documents.
        reading: how much of many documents was read; None: all of them.
        answer: the best one; falsy if there is none, or an unsure one.
        null_threshold: that the answer had to pass; None: the best span is always the answer.
        milliseconds: that it took.
        every: whether each of `answers` answers the question; else they are candidates for one answer.
        documents: that were asked, those included of which no passage was read.
    """

    question: str
    answers: tuple[tuple[Answer, Document], ...]
    prediction: Prediction
    reading: DocumentAnswers | None = None
    answer: Answer = _NONE
    null_threshold: float | None = None
    milliseconds: float = 0.0
    every: bool = False
    documents: int = 1

    def to_dict(self, *, several: bool) -> dict[str, Any]:
        """Return the result as a JSON object; with several documents each answer names its own."""
        answers = [
            answer.to_dict()
            | ({"file": document.name} if several else {})
            | {"evidence": evidence(document.text, answer.start, answer.end).to_dict()}
            for answer, document in self.answers
        ]
        read = (
            {name: getattr(self.reading, name) for name in ("read", "passages", "stopped")} if self.reading else {}
        )
        return {
            "question": self.question,
            **prediction_to_dict(self.prediction, self.answer),
            "answers": answers,
            "answer": answers[0] if self.answer else None,
            **read,
            "milliseconds": round(self.milliseconds, 3),
        }


def prediction_to_dict(prediction: Prediction, answer: Answer) -> dict[str, Any]:
    """Return a prediction and the chosen answer as the fields of a JSON object."""
    chosen = answer.to_dict() if answer else None
    return {"state": answer.state, "answer": chosen, **prediction.to_dict()}


def answer(
    reader: Reader,
    options: Options,
    question: str,
    documents: PassageIndex | Sequence[Document],
    *,
    read: int | None = None,
    seconds: float | None = None,
    every: bool = False,
) -> TextResult:
    """Ask a question of documents.

    Args:
        reader: reads them.
        options: of the reader.
        question: in plain words.
        documents: a list, all of which is read; or an index, of which the best passages are.
        read: passages of an index that are read at most.
        seconds: begin no passages of an index that are expected to end later; None: no limit.
        every: whether all answers to the question are asked for, and not the best one.
    """
    started = time.perf_counter()
    if every or isinstance(documents, PassageIndex):
        result = _of_passages(reader, options, question, documents, read=read, seconds=seconds, every=every)
    else:
        result = _of_texts(reader, options, question, documents)
    return replace(
        result,
        answer=reader.choose(result.prediction, options=options),
        null_threshold=options.threshold(reader.null_threshold),
        milliseconds=1000 * (time.perf_counter() - started),
    )


def _of_texts(reader: Reader, options: Options, question: str, documents: Sequence[Document]) -> TextResult:
    """Read all of some documents, and rank their answers together.

    Scores of several documents are logits above "no answer", since those of different texts cannot be compared.
    """
    examples = [(question, document.text) for document in documents]
    with progress.reading("windows") as count:
        predictions = list(reader.steps.predictions(examples, reader.resolve(options), on_run=count))
    origins = [prediction.null_score if len(documents) > 1 else 0.0 for prediction in predictions]
    ranked = [
        (replace(answer, score=answer.score - origin), document)
        for prediction, document, origin in zip(predictions, documents, origins, strict=True)
        for answer in prediction.answers
    ]
    ranked.sort(key=lambda item: -item[0].score)  # stable: of equal scores the earlier document's comes first
    answers = tuple(ranked[: options.n_best])
    merged = Prediction(
        answers=tuple(answer for answer, _ in answers),
        null_score=predictions[0].null_score - origins[0],
        null_probability=min(prediction.null_probability for prediction in predictions),
        warnings=tuple(dict.fromkeys(note for prediction in predictions for note in prediction.warnings)),
    )
    return TextResult(question, answers, merged, documents=len(documents))


def _of_passages(
    reader: Reader,
    options: Options,
    question: str,
    documents: PassageIndex | Sequence[Document],
    *,
    every: bool,
    **limits: Any,
) -> TextResult:
    """Read passages of documents one by one, the best ones of an index."""
    with progress.reading("passages") as count:
        ask = ask_all if every else ask_documents
        reading = ask(reader, question, documents, options=options, on_read=count, **limits)
    names = {found.document for found in reading.answers}
    if isinstance(documents, PassageIndex):
        total, texts = len(documents.documents), {name: Document(name, documents.text(name)) for name in names}
    else:
        total, texts = len(documents), {document.name: document for document in documents}
    answers = zip(reading.prediction.answers, (texts[found.document] for found in reading.answers), strict=True)
    return TextResult(question, tuple(answers), reading.prediction, reading, every=every, documents=total)
