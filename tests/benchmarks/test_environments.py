"""Environments of the rivals: made once for the same requirements, and skipped with a reason where they fail."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import environments
import pytest
from environments import RIVALS, installed, names

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def requirements(folder: Path, text: str) -> Path:
    (folder / "one").mkdir(parents=True)
    (folder / "one" / "requirements.txt").write_text(text)
    return folder


def test_an_environment_is_made_once_and_again_for_other_requirements(tmp_path: Path) -> None:
    rivals, build = requirements(tmp_path / "rivals", "--no-index\n"), tmp_path / "build"
    first = installed("one", rivals=rivals, build=build)
    assert first.why_not == ""
    version = "import sys; print(sys.version)"
    assert subprocess.check_output([first.python, "-c", version], text=True).strip() == sys.version
    witness = first.python.parent / "witness"
    witness.touch()
    assert installed("one", rivals=rivals, build=build) == first
    assert witness.exists()
    (rivals / "one" / "requirements.txt").write_text("--no-index\n# another\n")
    installed("one", rivals=rivals, build=build)
    assert not witness.exists()


def test_the_script_makes_them_and_says_which_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rivals, build = requirements(tmp_path / "rivals", "--no-index\n"), tmp_path / "build"
    monkeypatch.setattr(environments, "installed", partial(installed, rivals=rivals, build=build))
    monkeypatch.setattr(environments, "names", lambda: ["one"])
    monkeypatch.setattr(sys, "argv", ["environments.py"])
    assert environments.main() == 0
    name, megabytes, unit, python = capsys.readouterr().out.split()
    assert (name, megabytes.isdigit(), unit, python.startswith(str(build))) == ("one", True, "MB,", True)
    (rivals / "one" / "requirements.txt").write_text("--no-index\nno-such-package-of-anybody==1\n")
    monkeypatch.setattr(sys, "argv", ["environments.py", "one"])
    assert environments.main() == 1
    assert capsys.readouterr().out.startswith("one                      cannot be installed: ERROR: ")
    monkeypatch.setattr(sys, "argv", ["environments.py", "two"])
    with pytest.raises(SystemExit, match="2"):
        environments.main()
    assert "no rival two: it must be one of one" in capsys.readouterr().err


@pytest.mark.parametrize("name", names())
def test_every_requirement_is_pinned(name: str) -> None:
    lines = (RIVALS / name / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if not line.startswith("#")]
    assert "torch==2.13.0" in wanted
    assert all(line.count("==") == 1 and "+" not in line for line in wanted)
