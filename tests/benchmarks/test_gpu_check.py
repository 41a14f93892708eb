"""The script that checks a GPU: one line where there is none, and measuring that works on the CPU as well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gpu_check
import pytest

from qa_onnx import QaOnnxError
from qa_onnx.engines.names import Backend
from qa_onnx.engines.sessions import check_usable
from tests.conftest import TINY

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_check.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_without_a_gpu_it_says_so_in_a_line() -> None:
    try:
        check_usable(Backend("onnxruntime", "cuda"))
    except QaOnnxError as error:
        reason = str(error)
    else:
        pytest.skip("there is a GPU")
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"no GPU to check: {reason}\n")


def test_a_row_has_start_logits_spans_and_speeds() -> None:
    done = run("--questions", "6", "--measure", str(TINY), "onnxruntime", "cpu", "fp32")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert list(row) == ["start", "logits", "spans", "speed"]
    assert row["start"] > 0
    assert len(row["logits"]) > 1000
    assert len(row["spans"]) == 24
    assert all(speed > 0 for speed in row["speed"].values())


def test_a_row_that_cannot_run_says_why_at_the_end() -> None:
    done = run("--measure", str(TINY), "onnxruntime", "cuda", "int8")
    assert done.returncode != 0
    assert "not on onnxruntime/cuda" in done.stderr.splitlines()[-1]


def test_the_table_has_a_row_for_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_check, "ROWS", [("onnxruntime", place, "int8", False) for place in ("cpu", "cuda")])
    assert gpu_check.show({False: TINY}, 6)  # int8 is not for GPUs, so one has failed
    head, first, second, note = capsys.readouterr().out.splitlines()
    assert head.split() == ["start", "logits", "off", "same", *map(str, gpu_check.BUDGETS)]
    name, precision, start, off, same, *speeds = first.split()
    assert (name, precision, start[-1], float(off), same) == ("onnxruntime/cpu", "int8", "s", 0.0, "100.0%")
    assert len(speeds) == len(gpu_check.BUDGETS)
    assert "not on onnxruntime/cuda" in second
    assert note.strip().startswith("questions a second")
