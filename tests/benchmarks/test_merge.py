"""Pieces of a run give the figures of all questions together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from merge import merged, pieces

from qa_onnx import InputError
from qa_onnx.bench.results import BenchResults, ContenderResult, latency_of, ratio_of
from tests.bench.test_results import RUN


def piece(questions: int, rate: float, ratio: float, f1: float, latencies: list[float]) -> BenchResults:
    base = ContenderResult(name="base", f1=80.0, em=70.0, same_answers=1.0, rate=rate, cold_start=2.0)
    base.ratio = ratio_of([[1.0]] * 3, [[1.0]] * 3)
    fast = replace(base, name="fast", f1=f1, rate=rate * ratio, ratio=ratio_of([[ratio]] * 3, [[1.0]] * 3))
    fast.latency, fast.stages, fast.model_rate = latency_of(latencies), {"model": 1.0}, rate * ratio * 2
    data = {**RUN.data, "asked": questions, "judged": questions, "answerable": questions // 2}
    return replace(RUN, data=data, noise=("busy",), outcomes=(base, fast, RUN.outcomes[2]))


ONE, TWO = piece(40, 10.0, 4.0, 90.0, [0.1] * 40), piece(120, 20.0, 2.0, 70.0, [0.3] * 120)


def test_pieces_are_weighted_by_their_questions_or_their_time() -> None:
    found = merged([ONE, replace(TWO, rounds=4)])
    base, fast, broken = found.outcomes
    assert found.data["asked"] == found.data["judged"] == 160
    assert found.data["answerable"] == 80
    assert base.rate == pytest.approx(160 / 10)  # 4 s and 6 s
    assert base.ratio is not None
    assert (base.ratio.median, base.f1) == (1.0, 80.0)
    assert fast.rate == pytest.approx(160 / 4)  # 1 s and 3 s
    assert fast.ratio is not None
    assert fast.ratio.median == pytest.approx(10 / 4)
    assert (fast.f1, fast.cold_start, fast.stages) == (75.0, 2.0, {"model": 1.0})
    assert fast.model_rate == pytest.approx(80.0)
    assert fast.latency is not None
    assert (fast.latency.n, fast.latency.p50, fast.latency.p99) == (160, 300.0, 300.0)
    assert fast.latency.quantiles[0] == 100.0
    assert broken.error == "it is not installed"
    assert found.noise == ("busy",)
    assert found.rounds == 3
    assert "measured in 2 pieces" in found.notes[-1]


def test_one_piece_is_the_run_itself() -> None:
    assert pieces("minilm", 1) == ["minilm"]
    assert pieces("minilm", 2) == ["minilm-1", "minilm-2"]
    assert merged([RUN]) is RUN


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (replace(TWO, outcomes=TWO.outcomes[:1]), "contenders"),
        (replace(TWO, commit="abc1234"), "commits"),
    ],
)
def test_pieces_that_do_not_belong_together_are_refused(other: BenchResults, what: str) -> None:
    with pytest.raises(InputError, match=f"different {what}"):
        merged([ONE, other])
