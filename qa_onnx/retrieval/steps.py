"""Passages that are chosen step by step -> read by a reader -> the answers.

Left out: which passages are chosen, and what their predictions come to (ask.py, ask_all.py); a server reads them
through its own queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from qa_onnx.errors import InputError, quoted
from qa_onnx.options import check_bounds, check_type, is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from qa_onnx.answers import Prediction
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.retrieval.ask import DocumentAnswers
    from qa_onnx.retrieval.index import Passage

# Yields the next passages to read, takes their predictions, and returns the answers.
ReadingSteps: TypeAlias = "Generator[list[Passage], list[Prediction] | None, DocumentAnswers]"


def read_steps(
    reader: Reader,
    question: str,
    steps: ReadingSteps,
    *,
    options: Options,
    total: int,
    on_read: Callable[[int, int], object] | None,
) -> DocumentAnswers:
    """Read all passages of the steps, and return the answers.

    Args:
        reader: reads the passages.
        question: in plain words.
        steps: that choose them.
        options: of the reader.
        total: passages that are read at most.
        on_read: is called after each step with the passages read so far and `total`.

    Raises:
        EngineError: the model cannot be run.
    """
    predictions, done = None, 0
    try:
        while True:
            passages = steps.send(predictions)
            predictions = reader.predict([(question, passage.text) for passage in passages], options=options)
            done += len(passages)
            if on_read is not None:
                on_read(done, total)
    except StopIteration as end:
        answers: DocumentAnswers = end.value
        return answers


def check_call(question: object, read: object, seconds: object) -> None:
    """Check a question, and the limits of reading; InputError: one is of a wrong type or out of range."""
    check_type("the question", question, str, "a str")
    check_bounds("read", read)
    if seconds is not None and not (is_number(seconds) and seconds > 0):
        raise InputError(f"seconds is {quoted(seconds)}; it must be a number above 0, or None")
