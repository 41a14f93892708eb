"""The help of every command, and what is said to those who mistype one."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from qa_onnx import __version__
from qa_onnx.cli import main

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = main.list_commands(click.Context(main))


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_help_of_a_command_shows_its_text_as_it_was_written(name: str, columns: int) -> None:
    result = CliRunner().invoke(main, [name, "--help"], terminal_width=columns)
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {name} ")
    assert "\\b" not in result.output
    assert "\b" not in result.output
    text = inspect.cleandoc(command(name).help or "")
    assert text.split(".")[0].split("\n")[0][:20] in result.output
    for example in text.split("\b\n")[1:]:  # what follows the mark is not wrapped, to the next empty line
        for line in example.split("\n\n")[0].splitlines():
            assert f"  {line}\n" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name: str) -> None:
    silent = [
        option.name for option in command(name).params if isinstance(option, click.Option) and not option.help
    ]
    assert set(silent) <= {"seed", "device", "engine"}  # their names and values say it


def test_python_m_runs_the_command_line() -> None:
    line = [sys.executable, "-m", "qa_onnx", "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == f"qa-onnx, version {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["asks"], "unknown command 'asks': did you mean 'ask'?"),
        (["exporter", "x"], "unknown command 'exporter': did you mean 'export'?"),
        (["finetune", "x"], "unknown command 'finetune': did you mean 'train'?"),
        (["fine-tune"], "unknown command 'fine-tune': did you mean 'train'?"),
        (["inspect", "a bundle"], "unexpected argument 'a bundle': did you mean -b 'a bundle'?"),
        (["report", "bundle", "-v"], "unexpected argument 'bundle': did you mean -b bundle?"),
        (
            ["export", "x", "--calibrate", "--eval-data", "article.txt"],
            "--calibrate needs --calibration-data to fit",
        ),
        (["quux"], "unknown command 'quux': it must be one of ask, index, cite, map, export,"),
        (["ask", "--contxt", "x"], "--context"),
        (["ask", "Who?"], "qa-onnx ask -q 'Who?' -c FILE"),
        (["ask", "Who?", "article.txt"], "qa-onnx ask -q 'Who?' -c article.txt"),
        (["ask", "article.txt", "-q", "Who?"], "qa-onnx ask -q QUESTION -c article.txt"),
        (["ask", "-q", "Who?", "--context", "article.txt"], "-c article.txt reads it"),
    ],
)
def test_who_mistypes_is_told_the_right_form(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "article.txt").write_text("The boat is blue.", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("text", ["x" * 5000, "a\tb", "The boat is blue."])
def test_a_text_that_is_no_name_of_a_file_is_read(text: str) -> None:
    assert CliRunner().invoke(main, ["ask", "-q", "What?", "--context", text]).exit_code == 0
