"""Writer: whatever stops it, the folder holds a whole bundle, the old one or the new one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from qa_onnx import Bundle, ExportError
from qa_onnx.bundle.folder import read_manifest
from qa_onnx.export.writer import Writer
from tests.conftest import TINY, edit_manifest
from tests.exports import check_files, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qa_onnx.bundle.manifest import Manifest

STEPS = 4  # files that a commit of `stage` moves: tokenizer, model, golden, bundle.json


def stage(writer: Writer, content: str) -> Manifest:
    """Stage a model, a tokenizer and a golden file of some content, and make the manifest that names them."""
    like = read_manifest(TINY)
    path = writer.stage / "fp32.onnx"
    path.write_text(f"model {content}")
    model = writer.add("model", path)
    golden = writer.add_text("golden", f'"golden {content}"')
    return replace(
        like,
        source=replace(like.source, name=content),
        tokenizer=writer.add_text("tokenizer", f'"tokenizer {content} é"'),
        graphs={"fp32": structs.replace(like.graphs["fp32"], file=model, golden=golden)},
    )


def write(folder: Path, content: str) -> None:
    with Writer(folder) as writer:
        writer.commit(stage(writer, content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle, and files that are not of it."""
    folder = tmp_path / "bundle"
    write(folder, "old")
    (folder / "README.md").write_text("Kept by hand.\n")
    (folder / "model-notes.onnx").write_text("Kept too.\n")
    return folder


def names(folder: Path) -> set[str]:
    """Files that the bundle consists of."""
    return {entry.name for entry in Bundle.load(folder).manifest.files()} | {"bundle.json"}


def test_a_new_bundle_holds_its_files_by_content_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "bundle"
    write(folder, "new")
    manifest = check_files(folder).manifest
    assert manifest.source.name == "new"
    assert {path.name for path in folder.iterdir()} == names(folder)
    for entry in manifest.files():
        assert entry.name.split("-")[1].split(".")[0] == entry.sha256[:16]
    assert (folder / manifest.tokenizer.name).read_text(encoding="utf-8") == '"tokenizer new é"'


def test_a_new_version_takes_the_place_of_the_old_one(folder: Path) -> None:
    write(folder, "new")
    assert check_files(folder).manifest.source.name == "new"
    assert {path.name for path in folder.iterdir()} == names(folder) | {"README.md", "model-notes.onnx"}


def test_nothing_of_the_old_bundle_changes_before_the_commit(folder: Path) -> None:
    before = snapshot(folder)
    with Writer(folder) as writer:
        stage(writer, "new")
        during = {name: value for name, value in snapshot(folder).items() if not name.startswith(".export")}
        assert during == before
    assert snapshot(folder) == before


def test_files_that_the_new_manifest_still_names_stay(folder: Path) -> None:
    old = Bundle.load(folder).manifest
    with Writer(folder) as writer:
        new = stage(writer, "new")
        new.graphs["int8"] = old.graphs["fp32"]
        writer.commit(new)
    assert check_files(folder).manifest.graphs["int8"].file == old.graphs["fp32"].file


def test_a_damaged_file_is_put_right_by_the_same_content(folder: Path) -> None:
    (folder / Bundle.load(folder).manifest.tokenizer.name).write_text("damaged")
    write(folder, "old")
    assert check_files(folder).manifest.source.name == "old"


def test_the_manifest_is_replaced_last_and_only_after_every_file_is_on_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    move, fsync = Path.replace, os.fsync

    def record_replace(source: Path, target: Path) -> Path:
        events.append(Path(target).name)
        return move(source, target)

    def record_fsync(file: int) -> None:
        events.append("on disk")
        fsync(file)

    with Writer(folder) as writer:
        manifest = stage(writer, "new")
        monkeypatch.setattr(Path, "replace", record_replace)
        monkeypatch.setattr(os, "fsync", record_fsync)
        writer.commit(manifest)
    assert events[::2] == ["on disk"] * STEPS
    assert events[-1] == "bundle.json"
    assert set(events[1::2]) == {entry.name for entry in manifest.files()} | {"bundle.json"}


# Failures


def stop(folder: Path, error: BaseException) -> None:
    """An export that stages all it has, and then fails."""
    with Writer(folder) as writer:
        stage(writer, "new")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, ExportError, SystemExit])
def test_whatever_is_raised_clears_the_stage(folder: Path, error: type[BaseException]) -> None:
    before = snapshot(folder)
    with pytest.raises(error):
        stop(folder, error())
    assert snapshot(folder) == before


def test_a_failed_first_export_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        stop(tmp_path / "bundle", RuntimeError())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_is_not_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        stop(tmp_path, RuntimeError())
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_staging_is_an_export_error(folder: Path) -> None:
    before = snapshot(folder)
    with pytest.raises(ExportError, match=r"No space left on device.*unchanged"):
        stop(folder, OSError(28, "No space left on device"))
    assert snapshot(folder) == before


def failing(function: Callable[..., Any], good: int) -> Callable[..., Any]:
    """A function that does its work so many times, then reports a full disk."""
    calls = iter(range(good))

    def call(*arguments: Any) -> Any:
        if next(calls, None) is None:
            raise OSError(28, "No space left on device")
        return function(*arguments)

    return call


@pytest.mark.parametrize("good", range(STEPS))
@pytest.mark.parametrize(("owner", "name"), [(Path, "replace"), (os, "fsync")])
def test_a_full_disk_at_any_step_of_the_commit_leaves_all_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, good: int
) -> None:
    before = snapshot(folder)
    with Writer(folder) as writer:
        manifest = stage(writer, "new")
        monkeypatch.setattr(owner, name, failing(getattr(owner, name), good))
        with pytest.raises(ExportError, match="No space left on device; it is unchanged"):
            writer.commit(manifest)
        monkeypatch.undo()
    assert snapshot(folder) == before


@pytest.mark.parametrize("to", ["file", "file/bundle"])
def test_a_file_in_place_of_the_folder(tmp_path: Path, to: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ExportError, match=f"cannot write to .*{to}"), Writer(tmp_path / to):
        pass
    assert (tmp_path / "file").read_text() == "not a folder"


def test_an_orphan_that_cannot_be_removed_does_not_spoil_the_bundle(folder: Path) -> None:
    orphan = folder / f"model-{'0' * 16}.onnx"
    orphan.mkdir()
    write(folder, "new")
    assert check_files(folder).manifest.source.name == "new"
    assert orphan.is_dir()


# Killed runs

_KILLED_AT = """
import os, shutil, signal, sys, tempfile
from pathlib import Path
from tests.export.test_writer import Writer, stage

left = int(sys.argv[2])

def deadly(function):
    def call(*arguments, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return function(*arguments, **options)

    return call

calls = {tempfile: ["mkdtemp"], Path: ["replace", "unlink", "write_text"], os: ["fsync"], shutil: ["rmtree"]}
for owner, name in [(owner, name) for owner, names in calls.items() for name in names]:
    setattr(owner, name, deadly(getattr(owner, name)))
with Writer(Path(sys.argv[1])) as writer:
    writer.commit(stage(writer, "new"))
"""
_MOVES = 19  # of one export, at least: each begins with a call that changes something on the disk


@pytest.mark.parametrize("moves", range(_MOVES))
def test_an_export_killed_at_any_step_leaves_a_whole_bundle(folder: Path, moves: int) -> None:
    before = {name: sha256 for name, sha256 in snapshot(folder).items() if name in names(folder)}
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_AT, folder, str(moves)], cwd=Path(__file__).parents[2], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    if check_files(folder).manifest.source.name == "old":
        assert {name: sha256 for name, sha256 in snapshot(folder).items() if name in before} == before
    write(folder, "third")
    assert check_files(folder).manifest.source.name == "third"
    assert {path.name for path in folder.iterdir()} == names(folder) | {"README.md", "model-notes.onnx"}


def test_stages_of_killed_exports_are_removed_and_nothing_else(folder: Path) -> None:
    stale = [folder / f".export-{name}" for name in ("7", os.getpid(), "k3_9x")]
    kept = [folder / name for name in ("export-7", ".exports", "checkpoint-1")]
    for path in (*stale, *kept):
        path.mkdir()
        (path / "plain.onnx").write_text("half a model")
    write(folder, "new")
    assert [path for path in stale if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


# Two exports at once

_HOLD = """
import sys
from pathlib import Path
from tests.export.test_writer import Writer, stage

with Writer(Path(sys.argv[1])) as writer:
    print("at work", flush=True)
    sys.stdin.readline()
    writer.commit(stage(writer, sys.argv[2]))
"""


@contextlib.contextmanager
def at_work(folder: Path, content: str) -> Iterator[subprocess.Popen[str]]:
    """An export in another process, which commits when it gets a line."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, folder, content],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "at work\n"
        try:
            yield other
        finally:
            other.kill()


def test_a_second_export_waits_and_says_for_whom(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "qa_onnx.export.writer")
    with at_work(folder, "first") as other:
        assert other.stdin is not None
        go_on = other.stdin

        class Record(logging.Handler):
            def emit(self, _: logging.LogRecord) -> None:
                go_on.write("\n")
                go_on.flush()

        logger, handler = logging.getLogger("qa_onnx.export.writer"), Record()
        logger.addHandler(handler)
        try:
            with Writer(folder) as writer:
                assert read_manifest(folder).source.name == "first"
                writer.commit(stage(writer, "second"))
        finally:
            logger.removeHandler(handler)
        assert other.wait() == 0
    (message,) = caplog.messages
    assert message.startswith(f"waiting for another export into {folder}: process {other.pid} on ")
    assert check_files(folder).manifest.source.name == "second"
    assert {path.name for path in folder.iterdir()} == names(folder) | {"README.md", "model-notes.onnx"}


def test_an_export_that_does_not_end_is_not_waited_for_without_end(folder: Path) -> None:
    before = snapshot(folder)
    with at_work(folder, "first") as other:
        stages = set(folder.glob(".export-*"))
        with (
            pytest.raises(ExportError, match=rf"another export is at work in .*: process {other.pid} on .*--to"),
            Writer(folder, patience_s=0),
        ):
            pass
        assert set(folder.glob(".export-*")) == stages
    write(folder, "old")  # and the lock of a killed export is free at once
    assert snapshot(folder) == before


def test_a_bundle_that_changed_meanwhile_is_not_overwritten(folder: Path) -> None:
    """On a file system without locks nothing else tells of the other export."""
    with Writer(folder) as writer:
        manifest = stage(writer, "new")
        edit_manifest(folder, lambda content: content.update(created="2030-01-01T00:00:00+00:00"))
        before = (folder / "bundle.json").read_bytes()
        with pytest.raises(ExportError, match="was changed by another program during this export"):
            writer.commit(manifest)
    assert (folder / "bundle.json").read_bytes() == before
    assert check_files(folder).manifest.source.name == "old"


def test_without_locks_an_export_says_so_and_leaves_other_stages(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / ".export-other").mkdir()
    monkeypatch.setattr("qa_onnx.machine.locks._flock", lambda _: "none")
    write(folder, "new")
    assert check_files(folder).manifest.source.name == "new"
    assert (folder / ".export-other").exists()
    assert caplog.messages == [f"{folder} cannot be locked: let no other export write there now"]
