"""The results of a benchmark, and how they are kept.

    measured figures --> ContenderResult --> BenchResults, one a run --> results.json, results.csv

Left out: measuring (scenarios.py, parts.py) and showing (report.py).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RESAMPLES = 2000
_LATENCIES_KEPT = 200  # quantiles of each contender's latencies, for the plot


@dataclass(frozen=True, slots=True)
class Ratio:
    """Speed as a multiple of the base's. Rates are medians of whole rounds, so their quotient differs a little.

    Attributes:
        median: over the rounds, see `ratio_of`.
        low: lower end of the median's 95 % bootstrap interval.
        high: upper end.
        rounds: the ratio of each round.
    """

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]

    @property
    def interval(self) -> str:
        """The interval as people read it."""
        return f"{self.low:.2f}-{self.high:.2f}"


def ratio_of(base: list[list[float]], own: list[list[float]]) -> Ratio:
    """Return the ratio of speeds, from the seconds of the same work in the same turns of the same rounds.

    A turn asks the same questions in every round. Its ratio is the median over the rounds, and turns are weighted
    by their seconds. The interval resamples rounds (Efron and Tibshirani, An Introduction to the Bootstrap, 1993):
    few rounds give a wide one, which never exceeds the observed ratios.

    Args:
        base: seconds of the contender to compare with, by round and turn.
        own: seconds of the other.
    """
    times = np.array([base, own])
    chosen = np.random.default_rng(0).integers(len(base), size=(_RESAMPLES, len(base)))
    low, high = np.percentile(_median_ratio(*times[:, chosen]), (2.5, 97.5))
    rounds = times[0].sum(axis=-1) / times[1].sum(axis=-1)
    return Ratio(float(_median_ratio(*times)), float(low), float(high), tuple(rounds.tolist()))


def _median_ratio(base: NDArray[np.float64], own: NDArray[np.float64]) -> Any:
    """Return the ratio of times of shape (..., rounds, turns); see `ratio_of`."""
    weights = np.median(base, axis=-2)
    return weights.sum(axis=-1) / (weights / np.median(base / own, axis=-2)).sum(axis=-1)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from question to answer, one question after another.

    Attributes:
        n: number of timed questions.
        p50, p90, p99: percentiles.
        quantiles: evenly spaced quantiles, from the smallest latency to the largest.
    """

    n: int
    p50: float
    p90: float
    p99: float
    quantiles: tuple[float, ...]


def latency_of(seconds: list[float]) -> Latency:
    """Return the distribution of latencies."""
    milliseconds = 1000 * np.array(seconds)
    p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 99)))
    shares = np.linspace(0, 100, min(len(seconds), _LATENCIES_KEPT))
    return Latency(len(seconds), p50, p90, p99, tuple(np.percentile(milliseconds, shares).round(3).tolist()))


@dataclass(frozen=True, slots=True)
class ServerResult:
    """Results with questions that arrive at random times (Poisson), at rising rates.

    Attributes:
        limit_ms: limit of the 99th percentile of the latency.
        rate: the highest rate, in questions a second, that kept the limit; 0: none did.
        steps: rate, 99th percentile in milliseconds, and number of questions of each step.
    """

    limit_ms: float
    rate: float
    steps: tuple[tuple[float, float, int], ...]


@dataclass(slots=True, kw_only=True)
class ContenderResult:
    """The figures of one contender; None or empty where nothing was measured.

    Attributes:
        name: display name.
        error: why it did not run; "" if it did.
        facts: what it reported about itself.
        em: exact match on the questions that have an answer, in per cent.
        f1: F1 on the same questions, in per cent.
        same_answers: share of all questions answered with the base's text.
        rate: questions a second, many a call; median of the rounds.
        ratio: speed as a multiple of the base's.
        model_rate: questions a second if nothing but the model took time: `rate` by its share of the time.
        latency: of each question in a call of its own.
        server: see `ServerResult`.
        stages: milliseconds a question of each stage at `rate`, in the order of the work.
        padding: share of the model's tokens that is padding.
        by_batch_tokens: token budget of a batch -> questions a second, on texts that fill a window.
        by_length: tokens of a window -> questions a second, one question a call.
        by_threads: threads -> questions a second.
        cold_start: seconds from starting the process to the first answer.
        peak_mb: peak of resident memory.
        gpu_mb: memory on the GPU.
        model_mb: size of the model's files.
        install_mb: size of the installed packages.
    """

    name: str
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    em: float | None = None
    f1: float | None = None
    same_answers: float | None = None
    rate: float | None = None
    ratio: Ratio | None = None
    model_rate: float | None = None
    latency: Latency | None = None
    server: ServerResult | None = None
    stages: dict[str, float] = field(default_factory=dict)
    padding: float | None = None
    by_batch_tokens: dict[int, float] = field(default_factory=dict)
    by_length: dict[int, float] = field(default_factory=dict)
    by_threads: dict[int, float] = field(default_factory=dict)
    cold_start: float | None = None
    peak_mb: float | None = None
    gpu_mb: float | None = None
    model_mb: float | None = None
    install_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResults:
    """The results of one run: the same questions for every contender.

    Attributes:
        title: what was compared.
        command: command line that repeats the run.
        created: date and time in UTC, ISO 8601.
        machine: see `record.record`.
        data: name and sha256 of the data; number of questions, of timed ones ("asked"), of those behind EM and F1
            ("judged"), of those of these that have an answer ("answerable"); median words of a context.
        rounds: number of rounds of the offline scenario.
        noise: what disturbed the run, in words.
        outcomes: one for each contender, the base first.
        notes: what a reader must know, for example that the weights are random.
        commit: commit of the project, if known.
    """

    title: str
    command: str
    created: str
    machine: dict[str, Any]
    data: dict[str, Any]
    rounds: int
    noise: tuple[str, ...]
    outcomes: tuple[ContenderResult, ...]
    notes: tuple[str, ...] = ()
    commit: str | None = None

    @property
    def ran(self) -> tuple[ContenderResult, ...]:
        """The outcomes of the contenders that ran."""
        return tuple(outcome for outcome in self.outcomes if not outcome.error)


@dataclass(frozen=True, slots=True)
class _ResultsFile:
    format: Literal[1]
    runs: list[BenchResults]


def to_json(runs: list[BenchResults]) -> str:
    """Return the runs as the content of results.json."""
    return json.dumps(dataclasses.asdict(_ResultsFile(1, runs)), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> list[BenchResults]:
    """Read the runs of a results.json.

    Raises:
        InputError: the text is not a results.json, or has another format.
    """
    try:
        return msgspec.json.decode(text, type=_ResultsFile).runs
    except msgspec.DecodeError as error:
        raise InputError(f"not a results.json that this version of qa-onnx bench wrote: {error}") from error


# Column of results.csv -> attribute of a `ContenderResult`.
_COLUMNS = {
    "contender": "name", "error": "error", "em": "em", "f1": "f1", "same_answers": "same_answers",
    "questions_per_second": "rate", "ratio": "ratio.median", "ratio_low": "ratio.low", "ratio_high": "ratio.high",
    "model_questions_per_second": "model_rate", "p50_ms": "latency.p50", "p90_ms": "latency.p90",
    "p99_ms": "latency.p99", "server_limit_ms": "server.limit_ms", "server_questions_per_second": "server.rate",
    "cold_start_s": "cold_start", "peak_mb": "peak_mb", "gpu_mb": "gpu_mb", "model_mb": "model_mb",
    "install_mb": "install_mb",
}  # fmt: skip


def to_csv(runs: list[BenchResults]) -> str:
    """Return a row for each contender of each run; empty where nothing was measured."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", *_COLUMNS])
    for run in runs:
        for outcome in run.outcomes:
            writer.writerow([run.title, *(value_of(outcome, path) for path in _COLUMNS.values())])
    return out.getvalue()


def value_of(outcome: ContenderResult, path: str) -> Any:
    """Return an attribute, also of an attribute as in "latency.p50"; None if it was not measured."""
    value: Any = outcome
    for name in path.split("."):
        value = None if value is None else getattr(value, name)
    return value
