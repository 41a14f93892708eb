"""Ratios of two runs beside each other."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_check import changes, differences

from qa_onnx.bench.results import BenchResults, ContenderResult, Ratio, to_json
from tests.bench.test_results import RUN

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_check.py"


def results(*, title: str = "minilm", base: str = "PyTorch fp32", **ratios: float) -> BenchResults:
    names = {
        base: 1.0,
        **{name.replace("_", " ").replace("qa onnx", "qa-onnx"): one for name, one in ratios.items()},
    }
    outcomes = [ContenderResult(name=name, ratio=Ratio(one, one, one, (one,))) for name, one in names.items()]
    return replace(RUN, title=title, outcomes=tuple(outcomes))


def check(tmp_path: Path, new: BenchResults, stored: BenchResults) -> subprocess.CompletedProcess[str]:
    paths = tmp_path / "new.json", tmp_path / "stored.json"
    for path, run in zip(paths, (new, stored), strict=True):
        path.write_text(to_json([run]))
    command = [sys.executable, str(SCRIPT), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("now", "stored", "code", "said"),
    [
        ({"qa_onnx_int8": 3.6}, {"qa_onnx_int8": 3.999}, 0, r"ok .*qa-onnx int8"),
        ({"qa_onnx_int8": 3.5}, {"qa_onnx_int8": 3.999}, 1, r"SLOWER .*qa-onnx int8"),
        ({"qa_onnx_int8": 8.0}, {"qa_onnx_int8": 3.999}, 0, r"ok .*qa-onnx int8"),
        ({"qa_onnx_fp32": 2}, {"qa_onnx_fp32": 2, "qa_onnx_int8": 4}, 1, r"(?s).*MISSING qa-onnx int8"),
        ({"qa_onnx_int8": 4, "Haystack": 0.1}, {"qa_onnx_int8": 4, "Haystack": 1}, 0, r"(?s)(?!.*Haystack)"),
    ],
)
def test_a_drop_of_more_than_a_tenth_of_ours_is_flagged(
    tmp_path: Path, now: dict[str, Any], stored: dict[str, Any], code: int, said: str
) -> None:
    done = check(tmp_path, results(**now), results(**stored))
    assert done.returncode == code, done.stderr
    assert re.match(said, done.stdout)


def test_only_runs_of_the_same_title_and_first_contender_are_compared() -> None:
    stored = [results(qa_onnx_int8=4)]
    assert len(changes([results(qa_onnx_int8=1)], stored)) == 1
    assert changes([results(qa_onnx_int8=1, title="bert-base")], stored) == []
    assert changes([results(qa_onnx_int8=1, base="PyTorch bf16")], stored) == []


def test_nothing_in_common_is_exit_code_2(tmp_path: Path) -> None:
    done = check(tmp_path, results(qa_onnx_int8=4), results(qa_onnx_fp32=4))
    assert (done.returncode, done.stdout) == (2, "")
    assert "in common" in done.stderr


def test_no_stored_results_is_exit_code_2(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.json")
    done = subprocess.run([sys.executable, SCRIPT, missing, missing], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "missing.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_else_changed_is_said() -> None:
    new = replace(RUN, machine={**RUN.machine, "threads": 4, "versions": {"numpy": "2.1"}})
    said = differences([new], [RUN])
    assert said == ["not the same threads: 2 when stored, 4 now", "numpy was 2.0, is 2.1"]
