"""`qa-onnx ask --input`: a data file -> JSON lines with answers, in the same order.

JSON lines, CSV and TSV are answered as they come, in bounded memory. The output file has another name until its
last line is written, so that nobody takes an interrupted run for a finished one.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qa_onnx import Example
from qa_onnx.cli.output import check_file, check_stdout, to_json, whole_file
from qa_onnx.cli.progress import progress
from qa_onnx.cli.result import prediction_to_dict
from qa_onnx.data import hub
from qa_onnx.data.packed import unpacked
from qa_onnx.data.read import read
from qa_onnx.data.records import Record, text_of
from qa_onnx.errors import InputError
from qa_onnx.machine.files import open_file, open_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from qa_onnx import Options, Prediction, Reader


@dataclass(frozen=True, slots=True)
class _Question:
    """A question of the input: its record and example, or what is wrong with it."""

    record: Record
    example: Example | None
    error: str | None

    @property
    def id(self) -> Any:
        """As the file has it; None: it has none."""
        return self.record.fields.get("id")

    def failure(self) -> dict[str, Any]:
        """Return the output of a question that cannot be answered."""
        line = self.record.line
        place = {"place": self.record.place} if line is None else {"line": line}
        return {"id": self.id, **place, "error": self.error}


def run(reader: Reader, options: Options, input_path: str, output_path: str | None) -> int:
    """Answer all questions of a file; "-" is stdin or stdout, and None stdout.

    Returns:
        The number of questions that could not be answered; the output has their errors.
    """
    started = time.perf_counter()
    done = failed = 0
    with _opened(input_path) as records:
        first = list(itertools.islice(records, 1))  # before any output: the input may be no data file
        questions = map(_question, itertools.chain(first, records))
        total = _count(input_path) if first and first[0].line is not None else None
        with _output(output_path) as write, progress(total) as count:
            for question, prediction in _answered(reader, options, questions):
                done += 1
                if prediction is None or question.example is None:
                    failed += 1
                    write(question.failure())
                else:
                    answer = reader.choose(prediction, options=options)
                    result = prediction_to_dict(prediction, answer)
                    write(
                        {"id": question.id, "question": question.example.question, **result, "milliseconds": None}
                    )
                count(done)
    seconds = time.perf_counter() - started
    click.echo(f"{done - failed} questions answered in {seconds:.1f} s ({done / seconds:.1f} a second)", err=True)
    return failed


def _answered(
    reader: Reader, options: Options, questions: Iterable[_Question]
) -> Iterator[tuple[_Question, Prediction | None]]:
    """Yield each question with its prediction, in order; one that cannot be answered has none, but an error."""
    waiting: deque[_Question] = deque()

    def examples() -> Iterator[Example]:
        for question in questions:
            waiting.append(question)
            if question.example is not None:
                yield question.example

    for result in reader.steps.predict_each(examples(), reader.resolve(options)):
        while waiting[0].example is None:
            yield waiting.popleft(), None
        question = waiting.popleft()
        if isinstance(result, InputError):
            yield replace(question, error=str(result)), None
        else:
            yield question, result
    for question in waiting:
        yield question, None


def check(input_path: str, output_path: str | None) -> None:
    """Refuse an output that cannot be written, or that is the input, before anything is read.

    Raises:
        ClickException: it is so.
    """
    if output_path is None or output_path == "-":
        check_stdout([input_path])
    else:
        check_file(Path(output_path), inputs=[input_path])


def _question(record: Record) -> _Question:
    try:
        to_json(record.fields.get("id"))
    except RecursionError:
        fields = {name: value for name, value in record.fields.items() if name != "id"}
        return _Question(replace(record, fields=fields), None, "the id is nested too deeply")
    if record.problem:
        return _Question(record, None, record.problem)
    try:
        return _Question(
            record, Example(text_of(record.fields, "question"), text_of(record.fields, "context")), None
        )
    except ValueError as error:
        return _Question(record, None, str(error))


def stdin() -> IO[bytes]:
    """Return standard input, which a process may be started without."""
    if sys.stdin is None:
        raise click.ClickException("standard input cannot be read: it is closed")
    return sys.stdin.buffer


@contextmanager
def _opened(path: str) -> Iterator[Iterator[Record]]:
    if path == "-":
        yield read(open_stream(stdin(), "standard input"), "FILE")
    elif hub.is_name(path):
        yield hub.records_of_hub(path)
    else:
        with open_file(path) as file:
            yield read(file, path)


@contextmanager
def _output(path: str | None) -> Iterator[Any]:
    if path is None or path == "-":
        yield lambda content: click.echo(to_json(content))
        return
    with whole_file(Path(path), keep=True) as file:
        yield lambda content: file.write(to_json(content) + "\n")


def _count(path: str) -> int | None:
    """Return the number of lines if there is a progress bar and they can be counted; else None."""
    if path == "-" or not sys.stderr.isatty() or not Path(path).is_file():
        return None
    with open_file(path) as file:
        return sum(1 for line in unpacked(file) if line.strip())
