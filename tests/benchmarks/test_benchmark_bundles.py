"""Bundles that the benchmarks export: made once, and anew when what they are made of changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from bundles import exported, folder_for

from qa_onnx import Bundle
from qa_onnx.errors import ExportError
from tests.exports import checkpoint, copy, edit_json

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bundles.py"
FP32 = ("--precision", "fp32")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return copy(checkpoint("bert"), tmp_path / "tiny")


def test_a_bundle_is_made_once_and_anew_of_another_checkpoint(tmp_path: Path, source: Path) -> None:
    to = tmp_path / "bundles"
    first = exported(source, FP32, to=to)
    assert first == folder_for(source, FP32, to=to)
    assert list(Bundle.load(first).manifest.graphs) == ["fp32"]
    made = (first / "bundle.json").stat().st_mtime_ns
    assert exported(source, FP32, to=to) == first
    assert (first / "bundle.json").stat().st_mtime_ns == made


def test_checkpoint_options_and_what_they_read_count(tmp_path: Path, source: Path) -> None:
    read = tmp_path / "calibration.jsonl"
    folders = {folder_for(source, FP32), folder_for(source, [*FP32, "--no-fusion"])}
    for text in ("one", "another"):
        read.write_text(text)
        folders.add(folder_for(source, [*FP32, "--no-fusion"], read=[read]))
    edit_json(source / "config.json", lambda config: config.update(note="another"))
    assert len(folders | {folder_for(source, FP32)}) == 5


def test_what_cannot_be_exported_is_said_in_a_line(tmp_path: Path, source: Path) -> None:
    (source / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ExportError, match=r"qa-onnx export failed: Error: .*model\.safetensors is damaged"):
        exported(source, FP32, to=tmp_path / "bundles")
    for arguments, code, said in (([], 2, "CHECKPOINT"), ([str(tmp_path)], 1, "is no checkpoint")):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (code, "")
        assert said in done.stderr
