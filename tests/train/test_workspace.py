"""Folders of a run: what may be overwritten, and by whom."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qa_onnx import TrainError
from qa_onnx.train.state import STATE
from qa_onnx.train.workspace import RECORD, Workspace

if TYPE_CHECKING:
    from pathlib import Path

OLD = '{"base": "old", "run": {}}'


def finished(folder: Path) -> Path:
    folder.mkdir()
    (folder / RECORD).write_text(OLD)
    return folder


def unfinished(folder: Path) -> Workspace:
    space = Workspace(folder)
    space.work.mkdir()
    (space.work / STATE).write_text("state")
    return space


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_result_takes_its_place_and_the_state_is_gone(tmp_path: Path) -> None:
    finished(tmp_path / "m.old")  # a backup beside it is the user's
    space = Workspace(finished(tmp_path / "m"))
    with space.locked():
        space.stage.mkdir()
        (space.stage / RECORD).write_text("new")
        assert (space.to / RECORD).read_text() == OLD
        space.commit()
    assert (space.to / RECORD).read_text() == "new"
    assert (tmp_path / "m.old" / RECORD).read_text() == OLD
    assert names(tmp_path) == ["m", "m.old"]


@pytest.mark.parametrize(
    ("has_result", "has_state", "resume", "message"),
    [
        (False, False, False, None),
        (False, False, True, None),
        (True, False, False, r"holds a finished model: .*--replace"),
        (True, False, True, r"holds a finished model: .*--replace"),
        (True, True, False, r"holds a finished model: .*--replace"),
        (True, True, True, None),  # the run that may replace it resumes
        (False, True, False, r"holds an unfinished run: continue with --resume, or --replace it"),
        (False, True, True, None),
    ],
)
def test_nothing_is_replaced_that_the_user_did_not_allow(
    has_result: bool, has_state: bool, resume: bool, message: str | None, tmp_path: Path
) -> None:
    space = unfinished(tmp_path / "m") if has_state else Workspace(tmp_path / "m")
    if has_result:
        finished(space.to)
    space.check(resume=resume, replace=True)
    if message is None:
        space.check(resume=resume, replace=False)
    else:
        with pytest.raises(TrainError, match=message):
            space.check(resume=resume, replace=False)


def test_other_files_are_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis").write_text("mine")
    with pytest.raises(TrainError, match="holds other files than a trained model"):
        Workspace(tmp_path)
    with pytest.raises(TrainError, match="is a file: name a folder"):
        Workspace(tmp_path / "thesis")
    with pytest.raises(TrainError, match="is the root folder"):
        Workspace("/")
    (tmp_path / RECORD).write_text('{"epochs": 3}')  # another file of that name
    with pytest.raises(TrainError, match="holds other files than a trained model"):
        Workspace(tmp_path)
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "m")
    with pytest.raises(TrainError, match="is a mount point"):
        Workspace(tmp_path / "m")


def test_resuming_keeps_the_state_and_starting_again_does_not(tmp_path: Path) -> None:
    space = unfinished(tmp_path / "m")
    with space.locked():
        space.stage.mkdir()
        space.clear(resume=True)
        assert names(space.work) == ["lock", STATE]
        space.clear(resume=False)
        assert names(space.work) == ["lock"]
    assert names(tmp_path) == []


def test_a_run_killed_between_two_renames_has_lost_nothing(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "m")
    space.work.mkdir()
    finished(space.work / "old")
    with space.locked():
        assert (space.to / RECORD).read_text() == OLD


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    code = "import sys; from qa_onnx.train.workspace import Workspace\nwith Workspace(sys.argv[1]).locked(): pass"
    with Workspace(tmp_path / "m").locked():
        command = [sys.executable, "-c", code, str(tmp_path / "m")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another run is at work in" in done.stderr
    assert done.returncode == 1


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainError, match="cannot write to"), Workspace(tmp_path / "file" / "m").locked():
        pass
