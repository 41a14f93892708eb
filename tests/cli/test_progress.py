"""Progress of a question that takes long, on a terminal and elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from qa_onnx import Reader
from qa_onnx.cli import progress
from qa_onnx.cli.result import answer
from qa_onnx.documents import Document
from qa_onnx.windows import Example
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_IMPATIENT = """
import sys
from qa_onnx.cli import main, progress
progress._SOON_S = 0.0  # so that the bar shows, however fast this machine is
main(sys.argv[1:])
"""
LONG = "The tower is red. " * 800


def on_a_terminal(*arguments: object) -> tuple[str, str]:
    """Return what a command writes to stdout, and to stderr on a terminal."""
    control, terminal = os.openpty()
    fixed = (sys.executable, "-c", _IMPATIENT, "ask", "-b", TINY, "--precision", "fp32")
    command = [*map(str, (*fixed, *arguments))]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(control, 10_000):
                shown += part
        except OSError:  # so Linux says that nobody writes any more
            pass
        assert process.stdout is not None
        answer = process.stdout.read().decode()
    os.close(control)
    assert process.returncode == 0, shown
    return answer, re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.decode())


def test_the_windows_of_a_long_text_are_counted(tmp_path: Path, tiny_reader: Reader) -> None:
    path = tmp_path / "long.txt"
    path.write_text(LONG, encoding="utf-8")
    [cut] = tiny_reader.steps.cut([Example("What is red?", LONG)], tiny_reader.options)
    total = len(cut.windows)
    assert total > 10
    answer, shown = on_a_terminal("-q", "What is red?", "-c", path)
    assert re.search(rf"reading +\d+/{total} windows", shown)
    assert f"{total}/{total} windows" in shown
    plain = subprocess.run(
        [
            sys.executable,
            "-m",
            "qa_onnx",
            "ask",
            "-b",
            TINY,
            "--precision",
            "fp32",
            "-q",
            "What is red?",
            "-c",
            path,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "windows" not in plain.stderr  # not on a terminal
    assert plain.stdout == answer


def test_the_passages_of_many_documents_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="needs qa-onnx[search]")
    for number in range(9):
        text = f"Tower {number} is red. " * 60
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    _, shown = on_a_terminal("-q", "What is red?", "-c", tmp_path)
    assert re.search(r"reading +4/\d+ passages", shown)


def test_what_is_soon_over_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.reading("windows") as count:
        assert count is None  # stderr is no terminal here
    assert capsys.readouterr().err == ""


def test_a_reader_that_is_closed_while_it_answers_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader.load(TINY, precision="fp32")

    @contextmanager
    def closing(unit: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: reader.close()

    monkeypatch.setattr(progress, "reading", closing)
    found = answer(reader, reader.options, "What is red?", [Document("a", LONG)])
    assert found.prediction.answers
    assert reader.closed
