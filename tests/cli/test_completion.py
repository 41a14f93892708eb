"""Scripts that complete commands and options: run by the shells that are here."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from qa_onnx.cli import main
from qa_onnx.engines.names import PRECISIONS

if TYPE_CHECKING:
    from pathlib import Path

BASH = shutil.which("bash") or ""
COMMANDS = main.list_commands(click.Context(main))


def script(shell: str) -> str:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if BASH == "":
        pytest.skip("needs bash")
    path = tmp_path_factory.mktemp("completion") / "qa-onnx"
    path.write_text(script("bash"), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["d"], {"diff", "doctor"}),
        ([""], {*COMMANDS, "--help", "--version"}),
        (["ask", "--pre"], {"--precision"}),
        (["ask", "--precision", ""], set(PRECISIONS)),
        (["doctor", "--device", "cu"], {"cuda"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["ask", "--context-file", "art"], set()),  # bash itself completes the names of files
        (["nonsense", "--"], set()),
    ],
)
def test_bash_completes(words: list[str], completed: set[str], bash: Path) -> None:
    code = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _qa_onnx; '
        '[ ${#COMPREPLY[@]} -eq 0 ] || printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = [BASH, "--norc", "-c", code, "bash", str(bash), "qa-onnx", *words]
    # Nothing is on the PATH: no Python is started for it.
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "/nowhere"})
    assert set(done.stdout.split()) == completed
    assert done.stderr == ""


def test_bash_completes_every_option_of_every_command(bash: Path) -> None:
    text = bash.read_text(encoding="utf-8")
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{name}) words="))
        options = {option for one in command.params if isinstance(one, click.Option) for option in one.opts}
        assert {option for option in options if option.startswith("--")} <= set(line.split('"')[1].split())


def test_zsh_reads_what_bash_reads() -> None:
    assert script("zsh").endswith(script("bash"))
    assert "bashcompinit" in script("zsh")


@pytest.mark.parametrize(
    ("line", "completed"), [("d", {"diff", "doctor"}), ("ask --pre", {"--precision"}), ("completion z", {"zsh"})]
)
def test_fish_completes(line: str, completed: set[str], tmp_path: Path) -> None:
    text = script("fish")
    assert all(f" -a {name} -d " in text for name in COMMANDS)
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("needs fish")
    path = tmp_path / "qa-onnx.fish"
    path.write_text(text, encoding="utf-8")
    command = [fish, "--no-config", "-c", f"source {path}; complete -C 'qa-onnx {line}'"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {found.split("\t")[0] for found in done.stdout.splitlines()} == completed


def test_another_shell_is_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in result.stderr
