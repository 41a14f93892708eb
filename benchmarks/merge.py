"""A run in pieces, each with its own questions for the same contenders -> one result."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.bench.results import BenchResults, ContenderResult, Latency, Ratio, ratio_of
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def pieces(name: str, count: int) -> list[str]:
    """Return the names of the pieces of a part; a single piece has the part's own name."""
    return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]


def merged(runs: Sequence[BenchResults]) -> BenchResults:
    """Return the pieces of a run as one.

    Rates, ratios and scores are those of all questions together. A ratio's interval resamples the rounds of all
    pieces in parallel, as many as each piece has. Percentiles of the latency are those of the quantiles that each
    piece keeps. What only whole runs measure, by batch, length and threads, is left out.

    Raises:
        InputError: the pieces are not of the same contenders or commit.
    """
    first = runs[0]
    if len(runs) == 1:
        return first
    for what, of in (
        ("contenders", lambda run: [outcome.name for outcome in run.ran]),
        ("commits", lambda run: run.commit),
    ):
        if any(of(run) != of(first) for run in runs):
            raise InputError(
                f"{first.title}: its pieces have different {what}: run all of them again, with --fresh"
            )
    counted = ("questions", "asked", "judged", "answerable")
    data = {**first.data, **{name: sum(run.data[name] for run in runs) for name in counted}}
    times = [
        [outcome for run in runs for outcome in run.outcomes if outcome.name == name] for name in _names(first)
    ]
    asked = [run.data for run in runs]
    base = next(same for same in times if not same[0].error)
    return dataclasses.replace(
        first,
        data=data,
        rounds=min(run.rounds for run in runs),
        noise=tuple(dict.fromkeys(line for run in runs for line in run.noise)),
        notes=(*first.notes, f"measured in {len(runs)} pieces, one after another, each with its own questions"),
        outcomes=tuple(same[0] if same[0].error else _outcome(same, base, asked) for same in times),
    )


def _names(run: BenchResults) -> list[str]:
    return [outcome.name for outcome in run.outcomes]


def _outcome(
    same: Sequence[ContenderResult], base: Sequence[ContenderResult], data: Sequence[dict[str, Any]]
) -> ContenderResult:
    """Return the figures of one contender over all pieces."""
    asked = [one["asked"] for one in data]
    latencies = [one.latency for one in same if one.latency is not None]
    return dataclasses.replace(
        same[0],
        em=_mean(same, "em", [one["answerable"] for one in data]),
        f1=_mean(same, "f1", [one["answerable"] for one in data]),
        same_answers=_mean(same, "same_answers", [one["judged"] for one in data]),
        rate=_rate(same, "rate", asked),
        model_rate=_rate(same, "model_rate", asked),
        ratio=_ratio(same, base, asked),
        latency=_latency(latencies) if len(latencies) == len(same) else None,
        stages={name: _mean([one.stages for one in same], name, asked) for name in same[0].stages},
        by_batch_tokens={},
        by_length={},
        by_threads={},
        cold_start=statistics.median(one.cold_start for one in same if one.cold_start is not None),
        peak_mb=max((one.peak_mb for one in same if one.peak_mb is not None), default=None),
    )


def _mean(of: Sequence[Any], name: str, weights: Sequence[int]) -> Any:
    values = [one[name] if isinstance(one, dict) else getattr(one, name) for one in of]
    return None if None in values else float(np.average(values, weights=weights))


def _rate(same: Sequence[ContenderResult], name: str, asked: Sequence[int]) -> float | None:
    rates = [getattr(one, name) for one in same]
    return None if None in rates else sum(asked) / sum(n / rate for n, rate in zip(asked, rates, strict=True))


def _ratio(same: Sequence[ContenderResult], base: Sequence[ContenderResult], asked: Sequence[int]) -> Ratio:
    """Return the ratio over all pieces: each is a turn of `ratio_of`, as long as the base's median round."""
    ratios = [one.ratio.rounds for one in same if one.ratio is not None]
    rounds = min(map(len, ratios))
    seconds = [n / one.rate for n, one in zip(asked, base, strict=True) if one.rate is not None]
    own = np.array(seconds) / np.transpose([ratio[:rounds] for ratio in ratios])
    return ratio_of([seconds] * rounds, own.tolist())


def _latency(latencies: Sequence[Latency]) -> Latency:
    values = np.concatenate([one.quantiles for one in latencies])
    weights = np.concatenate([[one.n / len(one.quantiles)] * len(one.quantiles) for one in latencies])
    order = np.argsort(values)
    shares = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()

    def at(share: Any) -> Any:
        return np.interp(share, shares, values[order])

    kept = at(np.linspace(0, 1, min(len(values), max(len(one.quantiles) for one in latencies))))
    p50, p90, p99 = (float(at(share)) for share in (0.5, 0.9, 0.99))
    return Latency(sum(one.n for one in latencies), p50, p90, p99, tuple(kept.round(3).tolist()))
