"""Locks between processes, and the folders of killed ones."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qa_onnx.machine.locks import LockBusyError, locked, work_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOLD = """
import sys
from pathlib import Path
from qa_onnx.machine.locks import locked, work_folder

with locked(Path(sys.argv[1]) / "lock"), work_folder(Path(sys.argv[1]), ".work-") as folder:
    print(folder, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that holds the lock and a work folder, and the name of the latter."""
    command = [sys.executable, "-c", _HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_lock_is_a_file_that_exists_only_while_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with locked(path) as held:
        assert held
        assert path.read_text().startswith(f"process {os.getpid()} on ")
        with (
            pytest.raises(LockBusyError, match=rf"process {os.getpid()} on .*, since \d{{4}}-.* UTC"),
            locked(path),
        ):
            pass
        assert path.exists()
    assert not path.exists()


def test_a_body_that_fails_lets_the_lock_go_and_its_error_through(tmp_path: Path) -> None:
    for error in (FileNotFoundError, KeyboardInterrupt, LockBusyError):
        with pytest.raises(error), locked(tmp_path / "lock"):
            raise error
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, folder):
        with pytest.raises(LockBusyError, match=f"process {process.pid} on "), locked(tmp_path / "lock"):
            pass
        with work_folder(tmp_path, ".work-"):
            assert Path(folder).is_dir()
        process.kill()
        process.wait()
        with locked(tmp_path / "lock") as held:
            assert held
        assert Path(folder).is_dir()
        with work_folder(tmp_path, ".work-") as own:
            assert not Path(folder).is_dir()
            assert own.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_one_who_waits_is_told_once_for_whom(tmp_path: Path) -> None:
    told: list[str] = []
    with holder(tmp_path) as (process, _):

        def waiting(name: str) -> None:
            told.append(name)
            process.kill()

        with locked(tmp_path / "lock", patience_s=3600, waiting=waiting) as held:
            assert held
    (name,) = told
    assert name.startswith(f"process {process.pid} on ")


def test_a_lock_of_a_removed_file_is_no_lock(tmp_path: Path) -> None:
    """The last holder removed the file, and its folder, after this process had opened it."""
    path, folder = tmp_path / "bundle" / "lock", tmp_path / "bundle"
    with locked(path):

        def waiting(_: str) -> None:
            path.unlink()
            folder.rmdir()

        with locked(path, patience_s=3600, waiting=waiting) as held:
            assert held
            with pytest.raises(LockBusyError), locked(path):
                pass


def test_many_processes_hold_it_one_after_the_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from qa_onnx.machine.locks import locked\n"
        "folder = Path(sys.argv[1])\n"
        "for _ in range(5):\n"
        "    with locked(folder / 'lock', patience_s=3600):\n"
        "        count = int((folder / 'count').read_text())\n"
        "        (folder / 'count').write_text(str(count + 1))\n"
    )
    (tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "20"


def test_work_folders_without_a_lock_are_kept_for_a_day(tmp_path: Path) -> None:
    new, old = tmp_path / ".work-new", tmp_path / ".work-old"
    for folder in (new, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    with work_folder(tmp_path, ".work-") as own:
        assert {path.name for path in tmp_path.iterdir()} == {".work-new", own.name}
