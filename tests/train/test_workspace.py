"""Folders of a run: what may be overwritten, and by whom."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qa_onnx import TrainError
from qa_onnx.train.workspace import RECORD, Workspace

if TYPE_CHECKING:
    from pathlib import Path

OLD = '{"base": "old", "run": {}}'


def finished(folder: Path) -> Path:
    folder.mkdir()
    (folder / RECORD).write_text(OLD)
    return folder


def test_a_result_takes_its_place_and_the_state_is_gone(tmp_path: Path) -> None:
    space = Workspace(finished(tmp_path / "m"))
    space.prepare(resume=False, replace=True)
    with space.occupied(resume=False, replace=True):
        space.stage.mkdir()
        (space.stage / RECORD).write_text("new")
        assert (space.to / RECORD).read_text() == OLD
        space.commit()
    assert (space.to / RECORD).read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_nothing_is_replaced_that_the_user_did_not_allow(tmp_path: Path) -> None:
    space = Workspace(finished(tmp_path / "m"))
    for resume in (False, True):
        with pytest.raises(TrainError, match=r"holds a finished model: .*--replace"):
            space.prepare(resume=resume, replace=False)
    space.work.mkdir()
    space.prepare(resume=True, replace=False)  # the run that may replace it resumes
    with pytest.raises(TrainError, match="holds a finished model"):
        space.prepare(resume=False, replace=False)
    (space.to / RECORD).unlink()
    with pytest.raises(TrainError, match=r"holds an unfinished run: go on with --resume, or .*--replace"):
        space.prepare(resume=False, replace=False)
    space.prepare(resume=False, replace=True)


@pytest.mark.parametrize("replace", [False, True])
def test_other_files_are_never_replaced(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "thesis").write_text("mine")
    with pytest.raises(TrainError, match="holds other files than a trained model"):
        Workspace(tmp_path).prepare(resume=False, replace=replace)
    with pytest.raises(TrainError, match="is a file: name a folder"):
        Workspace(tmp_path / "thesis").prepare(resume=False, replace=replace)
    with pytest.raises(TrainError, match="is the root folder"):
        Workspace("/")
    (tmp_path / RECORD).write_text('{"epochs": 3}')  # another file of that name
    with pytest.raises(TrainError, match="holds other files than a trained model"):
        Workspace(tmp_path).prepare(resume=False, replace=replace)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    space = Workspace(tmp_path / "m")
    space.prepare(resume=False, replace=False)
    with space.occupied(resume=False, replace=False):
        space.stage.mkdir()
        space.commit()
    assert not list(space.to.iterdir())


def test_resuming_keeps_the_state_and_starting_again_does_not(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "m")
    with space.occupied(resume=False, replace=False):
        (space.work / "state.safetensors").write_text("state")
        space.stage.mkdir()
    with space.occupied(resume=True, replace=False):
        assert sorted(path.name for path in space.work.iterdir()) == ["lock", "state.safetensors"]
    with space.occupied(resume=False, replace=False):
        assert [path.name for path in space.work.iterdir()] == ["lock"]


def test_a_run_killed_between_two_renames_has_lost_nothing(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "m")
    space.work.mkdir()
    finished(space.work / "old")
    with pytest.raises(TrainError, match="holds a finished model"):
        space.prepare(resume=False, replace=False)
    assert (space.to / RECORD).read_text() == OLD


def test_a_backup_beside_it_is_the_users(tmp_path: Path) -> None:
    finished(tmp_path / "m.old")
    space = Workspace(tmp_path / "m")
    space.prepare(resume=False, replace=False)
    for _ in range(2):
        with space.occupied(resume=False, replace=True):
            space.stage.mkdir()
            (space.stage / RECORD).write_text(OLD)
            space.commit()
    assert (tmp_path / "m.old" / RECORD).read_text() == OLD


def test_a_run_that_ended_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "m")
    space.work.mkdir()
    space.prepare(resume=True, replace=False)
    finished(space.to)  # the other run, whose state is gone with it
    with (
        pytest.raises(TrainError, match="holds a finished model, and no run to resume"),
        space.occupied(resume=True, replace=False),
    ):
        pass
    assert (space.to / RECORD).read_text() == OLD
    assert not space.work.exists()


def test_a_mount_point_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "m")
    with pytest.raises(TrainError, match="is a mount point"):
        Workspace(tmp_path / "m").prepare(resume=False, replace=False)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from qa_onnx.train.workspace import Workspace\n"
        "with Workspace(sys.argv[1]).occupied(resume=True, replace=False): pass"
    )
    with Workspace(tmp_path / "m").occupied(resume=False, replace=False):
        command = [sys.executable, "-c", code, str(tmp_path / "m")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another run is at work in" in done.stderr
    assert done.returncode == 1


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(TrainError, match="cannot write to"),
        Workspace(tmp_path / "file" / "m").occupied(resume=False, replace=False),
    ):
        pass
