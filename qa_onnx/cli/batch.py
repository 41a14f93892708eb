"""`qa-onnx ask --input`: JSON lines in, JSON lines out, in order, in bounded memory.

Output goes to a file of another name until the last line is written, so an interrupted run is never taken for
a finished one.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from qa_onnx import Example
from qa_onnx.cli.output import whole_file
from qa_onnx.cli.progress import progress
from qa_onnx.data.file_kinds import refuse_other_kinds
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qa_onnx import Answer, Options, Prediction, Reader

_BEGINNING = 1 << 16  # bytes that tell what kind a file is


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the input: an example, or what is wrong with it."""

    number: int
    id: Any
    example: Example | None
    error: str | None


def run(reader: Reader, options: Options, input_path: str, output_path: str | None) -> int:
    """Answer all lines of a file.

    Args:
        reader: to ask.
        options: for all questions.
        input_path: of JSON lines; "-" is stdin.
        output_path: None or "-": stdout.

    Returns:
        How many lines could not be answered; they are in the output with their error.
    """
    if output_path and Path(f"{output_path}.partial").resolve() == Path(input_path).resolve():
        raise click.UsageError(f"{input_path} is where --output is written until it is whole: rename one of them")
    started = time.perf_counter()
    done = failed = 0
    with _opened(input_path) as source:
        lines = _lines(source, "FILE" if input_path == "-" else input_path)
        first = list(itertools.islice(lines, 1))  # before there is any output: it may be no text at all
        with _output(output_path) as write, progress(_count(input_path)) as count:
            for line, prediction in _answered(reader, options, itertools.chain(first, lines)):
                done += 1
                if prediction is None or line.example is None:
                    failed += 1
                    write({"id": line.id, "line": line.number, "error": line.error})
                else:
                    answer = reader.choose(prediction, options=options)
                    result = record(prediction, answer)
                    write({"id": line.id, "question": line.example.question, **result, "milliseconds": None})
                count(done)
    seconds = time.perf_counter() - started
    click.echo(f"{done - failed} questions answered in {seconds:.1f} s ({done / seconds:.1f} a second)", err=True)
    return failed


def record(prediction: Prediction, answer: Answer) -> dict[str, Any]:
    """A prediction as the fields of a JSON object."""
    return {"answer": answer.to_dict() if answer else None, **prediction.to_dict()}


def _answered(
    reader: Reader, options: Options, lines: Iterable[_Line]
) -> Iterator[tuple[_Line, Prediction | None]]:
    """Each line with its prediction; bad lines, which the reader never sees, keep their place."""
    waiting: deque[_Line] = deque()

    def examples() -> Iterator[Example]:
        for line in lines:
            waiting.append(line)
            if line.example is not None:
                yield line.example

    for prediction in reader.predict_iter(examples(), options=options):
        while waiting[0].example is None:
            yield waiting.popleft(), None
        yield waiting.popleft(), prediction
    for line in waiting:
        yield line, None


def _lines(source: IO[bytes], file: str) -> Iterator[_Line]:
    for number, raw in enumerate(source, 1):
        if number == 1:  # of a stream it is all that can be seen before it is used
            refuse_other_kinds(raw, "the input", file=file)
        if not raw.strip():
            continue
        given = None
        try:
            content = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
            if not isinstance(content, dict):
                raise InputError(f"the line is a JSON {type(content).__name__}, not an object")
            given = content.get("id")
            missing = [name for name in ("question", "context") if name not in content]
            if missing:
                raise InputError(f"no {' and no '.join(missing)}")
            yield _Line(number, given, Example(content["question"], content["context"]), None)
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or an InputError
            yield _Line(number, given, None, str(error))


def stdin() -> IO[bytes]:
    """Standard input, which a process may be started without."""
    if sys.stdin is None:
        raise click.ClickException("there is no standard input to read from: it is closed")
    return sys.stdin.buffer


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        yield stdin()
        return
    with Path(path).open("rb") as file:
        if file.seekable():
            refuse_other_kinds(file.read(_BEGINNING), "the input", file=path)
            file.seek(0)
        yield file


@contextmanager
def _output(path: str | None) -> Iterator[Any]:
    if path is None or path == "-":
        yield lambda content: click.echo(json.dumps(content))
        return
    with whole_file(Path(path)) as file:
        yield lambda content: file.write(json.dumps(content) + "\n")


def _count(path: str) -> int | None:
    """Lines to answer, where they can be counted beforehand and somebody sees the bar."""
    if path == "-" or not sys.stderr.isatty():
        return None
    with Path(path).open("rb") as file:
        return sum(1 for line in file if line.strip())
