"""The scripts that measure a GPU: one line where there is none, and measuring that works on the CPU as well."""

from __future__ import annotations

import json
import os
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

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    command = ["bash" if script.endswith(".sh") else sys.executable, str(BENCHMARKS / script), *arguments]
    environment = {**os.environ, "PYTHON": python}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("script", "start"), [("gpu_check.py", "no GPU to check"), ("gpu.sh", "gpu.sh: no GPU to measure")]
)
def test_without_a_gpu_it_says_so_in_a_line(script: str, start: str) -> None:
    try:
        check_usable(Backend("onnxruntime", "cuda"))
    except QaOnnxError as error:
        reason = str(error)
    else:
        pytest.skip("there is a GPU")
    done = run(script)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{start}: {reason}\n")


def test_without_an_environment_it_says_what_makes_one() -> None:
    done = run("gpu.sh", python="no-such-python")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no no-such-python: make gpu makes it" in done.stderr


def test_mlperf_beside_a_bundle_works_on_a_cpu_as_well() -> None:
    arguments = ("mlperf.py", str(TINY), "--device", "cpu", "--precision")
    done = run(*arguments, "fp32", "--quick")
    assert done.returncode == 0, done.stderr
    assert "9,082" in done.stdout
    assert "onnxruntime/cpu" in done.stdout
    failed = run(*arguments, "int4")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr


def test_a_row_has_start_logits_spans_and_speeds() -> None:
    done = run("gpu_check.py", "--questions", "6", "--measure", str(TINY), "onnxruntime", "cpu", "fp32")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert list(row) == ["start", "logits", "spans", "speed"]
    assert row["start"] > 0
    assert len(row["logits"]) > 1000
    assert len(row["spans"]) == 24
    assert all(speed > 0 for speed in row["speed"].values())


def test_a_row_that_cannot_run_says_why_at_the_end() -> None:
    done = run("gpu_check.py", "--measure", str(TINY), "onnxruntime", "cuda", "int8")
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
