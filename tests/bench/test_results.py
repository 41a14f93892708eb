"""Ratios and latencies of timed work, and results that survive being written and read."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from qa_onnx import InputError
from qa_onnx.bench.results import (
    BenchResults,
    ContenderResult,
    ServerResult,
    from_json,
    latency_of,
    ratio_of,
    to_csv,
    to_json,
)

BASE = ContenderResult(
    name="PyTorch fp32",
    em=70.0,
    f1=80.0,
    same_answers=1.0,
    rate=10.0,
    ratio=ratio_of([[2.0]] * 3, [[2.0]] * 3),
    latency=latency_of([0.1, 0.2, 0.3]),
    server=ServerResult(250.0, 8.0, ((6.0, 120.0, 30), (8.0, 240.0, 30), (9.2, 260.0, 30))),
    stages={"tokenize": 1.0, "pack": 0.1, "model": 90.0, "search": 0.5, "map": 0.4},
    by_batch_tokens={384: 9.0, 768: 10.0},
    by_length={32: 40.0, 384: 5.0},
    by_threads={1: 6.0, 2: 10.0},
)
FAST = replace(BASE, name="int8, onnxruntime", rate=30.0, ratio=ratio_of([[2.0], [2.1], [1.9]], [[0.7]] * 3))
MACHINE = {
    "cpu": "A CPU", "instruction_sets": ["avx2"], "threads": 2, "cpus": [0, 1], "memory_bytes": 8e9, "gpu": None,
    "driver": None, "governor": None, "system": "Linux", "python": "3.12.1", "versions": {"numpy": "2.0"},
}  # fmt: skip
DATA = {
    "name": "d.json", "sha256": "0", "questions": 9, "asked": 3, "judged": 2, "answerable": 2, "median_words": 50
}  # fmt: skip
RUN = BenchResults(
    title="a model on some data",
    command="qa-onnx bench --quick",
    created="2026-11-25T12:00:00+00:00",
    machine=MACHINE,
    data=DATA,
    rounds=3,
    noise=("other programs used 40 % of the cores' time",),
    outcomes=(BASE, FAST, ContenderResult(name="broken | one", error="it is not installed")),
)


def test_a_ratio_is_the_median_of_the_rounds_and_its_interval_lies_within_them() -> None:
    ratio = ratio_of([[2.0], [4.0], [3.0], [2.2], [2.0]], [[1.0], [1.0], [1.0], [1.0], [2.0]])
    assert ratio.rounds == (2.0, 4.0, 3.0, 2.2, 1.0)
    assert ratio.median == 2.2
    assert 1.0 <= ratio.low < 2.2 < ratio.high <= 4.0


def test_turns_weigh_as_much_as_they_last() -> None:
    assert ratio_of([[3.0, 1.0]] * 3, [[1.0, 1.0]] * 3).median == 2.0
    assert ratio_of([[30.0, 2.0]] * 3, [[10.0, 1.0]] * 3).median == pytest.approx(32 / 11)


def test_a_burst_in_one_turn_of_each_round_changes_nothing() -> None:
    own = np.ones((5, 4))
    own[[0, 1, 2, 3], [0, 1, 2, 3]] = 9.0
    ratio = ratio_of([[2.0] * 4] * 5, own.tolist())
    assert ratio.median == 2.0
    assert min(ratio.rounds) < 1.0


@pytest.mark.parametrize("turns", [1, 4])
def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says(turns: int) -> None:
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        base, own = draw.lognormal(0, 0.05, size=(2, 15, turns)) * [[[3.0]], [[1.0]]]
        ratio = ratio_of(base.tolist(), own.tolist())
        hits += ratio.low <= 3.0 <= ratio.high
    assert 180 <= hits <= 200


def test_latencies_are_milliseconds_at_percentiles() -> None:
    seconds = list(np.random.default_rng(0).permutation(np.arange(1, 1001) / 1000))
    latency = latency_of(seconds)
    assert (latency.n, len(latency.quantiles)) == (1000, 200)
    assert (latency.p50, latency.p90, latency.p99) == pytest.approx((500.5, 900.1, 990.01))
    assert (latency.quantiles[0], latency.quantiles[-1]) == (1.0, 1000.0)
    assert list(latency.quantiles) == sorted(latency.quantiles)


def test_results_read_back_are_the_same() -> None:
    assert from_json(to_json([RUN, replace(RUN, title="another")])) == [RUN, replace(RUN, title="another")]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "runs": [{}]}', '{"format": 99, "runs": []}'])
def test_what_is_no_results_file_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"results\.json"):
        from_json(text)


def test_csv_has_a_row_for_each_contender_of_each_run() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([RUN, replace(RUN, title="another")]))))
    assert [(row["run"], row["contender"]) for row in rows] == [
        (run, one.name) for run in (RUN.title, "another") for one in RUN.outcomes
    ]
    assert float(rows[1]["ratio"]) == pytest.approx(2.857, abs=1e-3)
    assert float(rows[0]["server_questions_per_second"]) == 8.0
    assert rows[2]["error"] == "it is not installed"
    assert rows[2]["f1"] == ""
