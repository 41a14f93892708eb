"""Results of questions: the best answers over several texts, and answers as JSON objects."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx import Answer, Options, Prediction, Reader


@dataclass(frozen=True, slots=True)
class Text:
    """A text to find answers in, and its name."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class TextResult:
    """The answers to one question in all texts."""

    question: str
    answer: Answer  # the best one; falsy if there is none
    answers: tuple[tuple[Answer, Text], ...]  # the n best over all texts
    prediction: Prediction  # as for one text; null score and probability are the minimum over all texts
    milliseconds: float
    null_threshold: float | None  # that the answer had to pass; None: the best span is always the answer

    def to_dict(self, *, several: bool) -> dict[str, Any]:
        """Return the result as a JSON object; with several texts each answer names its text."""
        answers = [answer.to_dict() | ({"file": text.name} if several else {}) for answer, text in self.answers]
        return {
            "question": self.question,
            **prediction_to_dict(self.prediction, self.answer),
            "answers": answers,
            "answer": answers[0] if self.answer else None,
            "milliseconds": round(self.milliseconds, 3),
        }


def prediction_to_dict(prediction: Prediction, answer: Answer) -> dict[str, Any]:
    """Return a prediction and the chosen answer as the fields of a JSON object."""
    chosen = answer.to_dict() if answer else None
    return {"state": answer.state, "answer": chosen, **prediction.to_dict()}


def ask_texts(reader: Reader, options: Options, question: str, texts: Sequence[Text]) -> TextResult:
    """Ask a question of several texts, and rank their answers together."""
    from qa_onnx import Example

    started = time.perf_counter()
    predictions = reader.predict([Example(question, text.content) for text in texts], options=options)
    ranked = [
        (answer, text)
        for prediction, text in zip(predictions, texts, strict=True)
        for answer in prediction.answers
    ]
    ranked.sort(key=lambda item: -item[0].score)  # stable: of equal scores the earlier text's comes first
    ranked = ranked[: options.n_best]
    merged = replace(
        predictions[0],
        answers=tuple(answer for answer, _ in ranked),
        null_score=min(prediction.null_score for prediction in predictions),
        null_probability=min(prediction.null_probability for prediction in predictions),
        warnings=tuple(dict.fromkeys(note for prediction in predictions for note in prediction.warnings)),
    )
    answer = reader.choose(merged, options=options)
    milliseconds = 1000 * (time.perf_counter() - started)
    threshold = reader.null_threshold if options.null_threshold == "bundle" else options.null_threshold
    return TextResult(question, answer, tuple(ranked), merged, milliseconds, threshold)
