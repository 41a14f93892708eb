"""--quiet: notes, progress and the log's information are left out, warnings and results are not."""

from __future__ import annotations

import logging

import click
import pytest
from click.testing import CliRunner

from qa_onnx.cli import COMMANDS, main, tables
from qa_onnx.cli.notes import is_quiet, note, quiet_option


@click.command
@quiet_option
def talk() -> None:
    """Print one line of each kind."""
    log = logging.getLogger("qa_onnx.test")
    click.echo(f"result {is_quiet()} {tables.console(stderr=True).quiet} {tables.console().quiet}")
    note("a note")
    log.info("information")
    log.warning("a warning")


@pytest.mark.parametrize(
    ("words", "out", "err"),
    [
        ([], "result False False False\n", "a note\ninformation\na warning\n"),
        (["-q"], "result True True False\n", "a warning\n"),
        (["--quiet"], "result True True False\n", "a warning\n"),
    ],
)
def test_quiet_keeps_results_and_warnings(
    words: list[str], out: str, err: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "get_command", lambda *_: talk)
    result = CliRunner().invoke(main, ["inspect", *words])
    assert (result.stdout, result.stderr) == (out, err)
    assert not is_quiet()  # outside of a command


def test_commands_with_notes_or_progress_can_be_quiet() -> None:
    quiet = {
        name
        for name in COMMANDS
        if (command := main.get_command(click.Context(main), name))
        and any("--quiet" in option.opts for option in command.params)
    }
    assert quiet == {"map", "export", "train", "eval", "bench", "tune", "report", "diff", "doctor"}
