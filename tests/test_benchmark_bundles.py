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

from .exports import checkpoint, copy, edit_json

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "bundles.py"
FP32 = ("--precision", "fp32")


def test_a_bundle_is_made_once(tmp_path: Path) -> None:
    source, to = copy(checkpoint("bert"), tmp_path / "tiny"), tmp_path / "bundles"
    folder = exported(source, FP32, to=to)
    assert folder == folder_for(source, FP32, to=to)
    assert list(Bundle.load(folder).manifest.graphs) == ["fp32"]
    made = (folder / "bundle.json").stat().st_mtime_ns
    assert exported(source, FP32, to=to) == folder
    assert (folder / "bundle.json").stat().st_mtime_ns == made


def test_checkpoint_options_and_what_they_read_count(tmp_path: Path) -> None:
    made_of = tmp_path / "calibration.jsonl"
    made_of.write_text("one")
    source = copy(checkpoint("bert"), tmp_path / "tiny")
    folders = [
        folder_for(source, FP32),
        folder_for(source, [*FP32, "--no-fusion"]),
        folder_for(source, [*FP32, "--no-fusion"], read=[made_of]),
    ]
    made_of.write_text("another")
    folders.append(folder_for(source, [*FP32, "--no-fusion"], read=[made_of]))
    edit_json(source / "config.json", lambda config: config.update(note="another"))
    folders.append(folder_for(source, FP32))
    assert len({*folders}) == 5


def test_what_cannot_be_exported_is_said_in_a_line(tmp_path: Path) -> None:
    source = copy(checkpoint("bert"), tmp_path / "tiny")
    (source / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ExportError, match="qa-onnx export failed: Error: transformers cannot load"):
        exported(source, FP32, to=tmp_path / "bundles")
    for arguments, code, said in (([], 2, "CHECKPOINT"), ([str(tmp_path)], 1, "is no checkpoint")):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (code, "")
        assert said in done.stderr
