"""Results of questions: the best answers over several documents, and answers as JSON objects."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qa_onnx.answers import Answer, Prediction
from qa_onnx.cli import progress
from qa_onnx.documents.document import Document
from qa_onnx.documents.evidence import evidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qa_onnx import Options, Reader
    from qa_onnx.retrieval.document_answers import DocumentAnswers
    from qa_onnx.retrieval.index import PassageIndex


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


def ask_texts(reader: Reader, options: Options, question: str, documents: Sequence[Document]) -> TextResult:
    """Ask a question of all of some documents, and rank their answers together.

    Scores of several documents are logits above "no answer", since those of different texts cannot be compared.
    """
    from qa_onnx import Example

    started = time.perf_counter()
    with progress.windows(reader):
        predictions = reader.predict([Example(question, document.text) for document in documents], options=options)
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
    result = TextResult(question, answers, merged, documents=len(documents))
    return _with_choice(reader, options, result, started)


def ask_index(
    reader: Reader, options: Options, question: str, index: PassageIndex, *, read: int, seconds: float | None
) -> TextResult:
    """Ask a question of many documents, of which the best passages are read."""
    from qa_onnx.retrieval.ask import ask_documents

    started = time.perf_counter()
    with progress.reading("passages") as count:
        reading = ask_documents(
            reader, question, index, read=read, seconds=seconds, options=options, on_read=count
        )
    texts = {name: Document(name, index.text(name)) for name in {found.document for found in reading.answers}}
    result = replace(_of_passages(question, reading, texts), documents=len(index.documents))
    return _with_choice(reader, options, result, started)


def ask_every(
    reader: Reader,
    options: Options,
    question: str,
    documents: PassageIndex | Sequence[Document],
    *,
    read: int | None,
    seconds: float | None = None,
) -> TextResult:
    """Ask for all answers to a question, in all of some documents (read None) or the best passages of many."""
    from qa_onnx.retrieval.ask_all import ask_all
    from qa_onnx.retrieval.index import PassageIndex

    started = time.perf_counter()
    with progress.reading("passages") as count:
        reading = ask_all(reader, question, documents, read=read, seconds=seconds, options=options, on_read=count)
    if isinstance(documents, PassageIndex):
        count_of_all = len(documents.documents)
        names = {found.document for found in reading.answers}
        texts = {name: Document(name, documents.text(name)) for name in names}
    else:
        count_of_all = len(documents)
        texts = {document.name: document for document in documents}
    result = replace(_of_passages(question, reading, texts), every=True, documents=count_of_all)
    return _with_choice(reader, options, result, started)


def _of_passages(question: str, reading: DocumentAnswers, texts: Mapping[str, Document]) -> TextResult:
    """Return the result of passages that were read."""
    prediction = reading.prediction
    documents = [texts[found.document] for found in reading.answers]
    return TextResult(question, tuple(zip(prediction.answers, documents, strict=True)), prediction, reading)


def _with_choice(reader: Reader, options: Options, result: TextResult, started: float) -> TextResult:
    """Return a result with the chosen answer, the threshold that it had to pass, and the time since the start."""
    return replace(
        result,
        answer=reader.choose(result.prediction, options=options),
        null_threshold=options.threshold(reader.null_threshold),
        milliseconds=1000 * (time.perf_counter() - started),
    )
