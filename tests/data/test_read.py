"""Files are read as they come: a stream without end is answered, and its first line before there is a second."""

from __future__ import annotations

import gzip
import io
import itertools
import json
from typing import TYPE_CHECKING

import pytest

from qa_onnx.data.read import read

if TYPE_CHECKING:
    from collections.abc import Iterable

ROW = json.dumps({"question": "Who?", "context": "Ida came."}).encode() + b"\n"
PARAGRAPH = json.dumps({"context": "Ida came.", "qas": [{"question": "Who?"}]}).encode() + b"\n"


class Pipe(io.RawIOBase):
    """A pipe into which parts are written, one for each read."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self.parts = iter(parts)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = next(self.parts)
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (b"", ROW),
        (b"", PARAGRAPH),
        (b'{"header": {}}\n', PARAGRAPH),
        (b'{"question" broken\n', ROW),
        (b"question,context\n", b"Who?,Ida came.\n"),
        (b"", gzip.compress(ROW, mtime=0)),
    ],
)
def test_a_stream_without_end_is_read(first: bytes, rest: bytes) -> None:
    stream = io.BufferedReader(Pipe(itertools.chain([first] if first else [], itertools.repeat(rest))), 1 << 12)
    records = list(itertools.islice(read(stream, "-"), 5000))
    assert [record.fields.get("question") for record in records[1:]] == ["Who?"] * 4999


def test_a_question_does_not_wait_for_the_next_line() -> None:
    records = read(io.BufferedReader(Pipe([ROW, ROW])), "-")
    assert [next(records).line, next(records).line] == [1, 2]  # a third read of the pipe would raise StopIteration


def test_a_task_without_annotation_is_a_question_without_answers() -> None:
    task = {"id": 5, "data": {"text": "Ida came.", "question": "Who?"}, "annotations": [{"was_cancelled": True}]}
    (record,) = read(io.BufferedReader(io.BytesIO(json.dumps(task).encode())), "-")
    assert (record.place, record.problem) == ("the file", "")
    assert record.fields == {"id": 5, "question": "Who?", "context": "Ida came."}
