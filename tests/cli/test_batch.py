"""`qa-onnx ask --input`: many questions from a file."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from qa_onnx import Example, Reader
from qa_onnx.cli import main
from tests.conftest import TINY
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    from pathlib import Path

PAIRS: list[dict[str, Any]] = [
    {"id": "a", "question": "Who?", "context": "Agnes Halloran designed the tower."},
    {"question": "Where?", "context": "On the rock, far out."},
    {"id": 7, "question": "Is there anything?", "context": ""},
    {"id": "emoji", "question": "What?", "context": "A lone \ud83d and a pair 🦉 of owls."},
]


def batch(*arguments: object, stdin: bytes = b"") -> Result:
    command = ["ask", "-b", str(TINY), "--precision", "fp32", *map(str, arguments)]
    return CliRunner().invoke(main, command, input=stdin)


def lines(*items: object) -> bytes:
    return b"".join((item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n" for item in items)


def test_every_line_is_answered_in_order(tmp_path: Path, tiny_reader: Reader) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(lines(*PAIRS))
    result = batch("--input", source, "--output", target)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "4 questions answered" in result.stderr
    records = [json.loads(line) for line in target.read_text().splitlines()]
    assert [record["id"] for record in records] == ["a", None, 7, "emoji"]
    expected = tiny_reader.predict([Example(pair["question"], pair["context"]) for pair in PAIRS])
    for record, prediction, pair in zip(records, expected, PAIRS, strict=True):
        answer = prediction.choose(None)
        assert (record["answer"] or {"text": ""})["text"] == answer.text
        assert record["question"] == pair["question"]
        assert record["null_score"] == pytest.approx(prediction.null_score, abs=1e-4)
    assert records[2]["answer"] is None
    assert records[2]["warnings"] == ["the context is empty"]


def test_stdin_to_stdout_and_no_lines() -> None:
    result = batch("--input", "-", stdin=lines(PAIRS[0]))
    assert json.loads(result.stdout)["id"] == "a"
    empty = batch("--input", "-", stdin=b"")
    assert (empty.exit_code, empty.stdout) == (0, "")


BAD_LINES = [
    (b"{not json", None, "column 2: not JSON (Expecting"),
    (b"7", None, "expected a row"),
    (b'{"id": "q", "question": "Who?"}', "q", 'no "context"'),
    (b'{"id": 3}', 3, "expected a row"),
    (b'{"id": "n", "question": 5, "context": "x"}', "n", '"question" must be a text, not 5'),
    (b'{"question": "\xff", "context": "x"}', None, "expected UTF-8"),
    (b"[" * 100_000, None, "recursion"),
]


@pytest.mark.parametrize(("bad", "number", "message"), BAD_LINES)
def test_a_bad_line_is_reported_in_its_place_and_the_others_go_on(
    bad: bytes, number: object, message: str, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    result = batch("--input", "-", "--output", target, stdin=lines(PAIRS[0], bad, b"", PAIRS[1], bad))
    records = [json.loads(line) for line in target.read_text().splitlines()]
    assert [bool(record.get("answer")) for record in records] == [True, False, True, False]
    assert [record.get("line") for record in records] == [None, 2, None, 5]
    assert list(records[1]) == ["id", "line", "error"]
    assert records[1]["id"] == number
    assert message in records[1]["error"]
    assert result.exit_code == 1
    assert "2 questions could not be answered" in result.stderr


def test_a_text_that_is_too_long_is_an_error_of_its_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qa_onnx.tokens.encoder.LONGEST_TEXT", 100)
    long = {"id": "long", "question": "Who?", "context": "x" * 101}
    result = batch("--input", "-", stdin=lines(b'{"question": x}', long, *PAIRS, b"{", long))
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record.get("id") for record in records] == [None, "long", "a", None, 7, "emoji", None, "long"]
    for place in (1, 7):
        assert records[place] == {
            "id": "long",
            "line": place + 1,
            "error": "a text has 101 characters; the limit is 100: split it",
        }
    assert ["error" in record for record in records] == [True, True, *[False] * 4, True, True]
    assert result.exit_code == 1


def test_the_first_line_may_be_bad() -> None:
    result = batch("--input", "-", stdin=lines(b'{"question": "Who', PAIRS[0]))
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert list(records[0]) == ["id", "line", "error"]
    assert [record["id"] for record in records] == [None, "a"]


def test_no_data_and_no_lines() -> None:
    empty = batch("--input", "-", stdin=b"\n \n")
    assert empty.exit_code == 0
    assert empty.stdout == ""
    for content in (b"x\n", b'{\n"question": "Who?",\n"context": x\n}\n' * 10):
        result = batch("--input", "-", stdin=content)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1  # one error for the file, not one a line


SQUAD = {
    "context": PAIRS[0]["context"],
    "qas": [{"id": "a", "question": "Who?"}, {"id": "b"}, {"question": "Which?"}],
}


TABLE = "id,question,context\na,Who?,{0}\nb,x\n,Which?,{0}".format(PAIRS[0]["context"])


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (json.dumps({"data": [{"paragraphs": [SQUAD]}]}, indent=1).encode(), "data[0].paragraphs[0].qas[1]"),
        (gzip.compress(lines(SQUAD, {**SQUAD, "qas": []}), mtime=0), 1),
        (TABLE.encode(), "line 3"),
    ],
)
def test_any_form_of_data_is_answered(content: bytes, place: str | int, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(content)
    result = batch("--input", tmp_path / "data")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [bool(record.get("answer")) for record in records] == [True, False, True]
    assert [record.get("question") for record in records] == ["Who?", None, "Which?"]
    assert records[0]["id"] == "a"
    assert records[1].get("place", records[1].get("line")) == place
    assert result.exit_code == 1
    assert "1 question could not be answered" in result.stderr


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    result = batch("--input", "-", "--output", tmp_path / "no" / "out.jsonl", stdin=lines(PAIRS[0]))
    assert result.exit_code == 1
    assert "cannot write" in result.stderr


@pytest.mark.slow
def test_interrupted_in_the_middle_leaves_no_output_that_looks_finished(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    os.mkfifo(source)
    target.write_text("older answers\n")

    def feed() -> None:
        """Questions without end, until nobody reads them."""
        with contextlib.suppress(BrokenPipeError), source.open("wb") as pipe:
            while True:
                pipe.write(lines(PAIRS[0]) * 20)

    # A shell's background job ignores interrupts, and so would all that it starts.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import qa_onnx.__main__"
    command = [sys.executable, "-c", heard, "ask", "-b", str(TINY), "--input", str(source)]
    process = subprocess.Popen(
        [*command, "--output", str(target)],
        stderr=subprocess.PIPE,
        text=True,
    )
    feeder = threading.Thread(target=feed)
    feeder.start()
    partial = target.with_name("out.jsonl.partial")
    eventually(lambda: partial.exists() and partial.stat().st_size > 0, "answers are written")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    feeder.join()
    assert process.returncode == 130
    assert "out.jsonl was not written" in said
    assert "Traceback" not in said
    assert target.read_text() == "older answers\n"
    assert partial.read_text()


def test_a_pipe_as_output_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    result = batch("--input", "-", "--output", pipe, stdin=lines(PAIRS[0]))
    reader.join(PATIENCE_S)
    assert result.exit_code == 0, result.output
    assert json.loads(received[0])["id"] == "a"
    assert pipe.is_fifo()


def test_a_link_as_output_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.touch()
    link.symlink_to(target)
    assert batch("--input", "-", "--output", link, stdin=lines(PAIRS[0])).exit_code == 0
    assert link.is_symlink()
    assert json.loads(target.read_text())["id"] == "a"


def test_the_partial_file_of_the_output_cannot_be_the_input(tmp_path: Path) -> None:
    source = tmp_path / "out.jsonl.partial"
    source.write_bytes(lines(PAIRS[0]))
    result = batch("--input", source, "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 2
    assert source.read_bytes() == lines(PAIRS[0])
