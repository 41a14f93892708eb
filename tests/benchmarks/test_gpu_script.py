"""benchmarks/gpu.sh where there is no GPU: what it refuses, and how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qa_onnx import QaOnnxError
from qa_onnx.engines.names import Backend
from qa_onnx.engines.sessions import check_usable
from tests.conftest import TINY

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(*arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": python}
    command = ["bash", str(BENCHMARKS / "gpu.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_without_a_gpu_it_says_so_in_a_line() -> None:
    try:
        check_usable(Backend("onnxruntime", "cuda"))
    except QaOnnxError as error:
        reason = str(error)
    else:
        pytest.skip("there is a GPU")
    done = run("--quick")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"gpu.sh: no GPU to measure: {reason}\n")


def test_without_an_environment_it_says_what_makes_one() -> None:
    done = run(python="no-such-python")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no no-such-python: make gpu makes it" in done.stderr


def test_mlperf_beside_a_bundle_works_on_a_cpu_as_well() -> None:
    command = [sys.executable, str(BENCHMARKS / "mlperf.py"), str(TINY), "--precision", "fp32", "--device", "cpu"]
    done = subprocess.run([*command, "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "9,082" in done.stdout
    assert "onnxruntime/cpu" in done.stdout
    failed = subprocess.run([*command[:-2], "--precision", "int4"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
