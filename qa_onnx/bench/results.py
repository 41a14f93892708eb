"""The results of a benchmark, and how they are kept.

    measured figures --> ContenderResult --> BenchResults, one a run --> results.json, results.csv

Left out: measuring (compare.py, parts.py) and showing (report.py).
"""

from __future__ import annotations

import csv
import io
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
    """Speed as a multiple of the base's. Rates are medians of whole rounds, so their quotient differs a little."""

    median: float  # over the rounds, see `ratio_of`
    low: float  # ends of the median's 95 % bootstrap interval
    high: float
    rounds: tuple[float, ...]  # ratio of each round

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
    """Milliseconds from question to answer, one question after another."""

    n: int  # timed questions
    p50: float
    p90: float
    p99: float
    quantiles: tuple[float, ...]  # evenly spaced, from the smallest latency to the largest


def latency_of(seconds: list[float]) -> Latency:
    """Return the distribution of latencies."""
    milliseconds = 1000 * np.array(seconds)
    p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 99)))
    shares = np.linspace(0, 100, min(len(seconds), _LATENCIES_KEPT))
    return Latency(len(seconds), p50, p90, p99, tuple(np.percentile(milliseconds, shares).round(3).tolist()))


@dataclass(frozen=True, slots=True)
class ServerResult:
    """Results with questions that arrive at random times (Poisson), at rising rates."""

    limit_ms: float  # of the 99th percentile of the latency
    rate: float  # highest rate, in questions a second, that kept the limit; 0: none did
    steps: tuple[tuple[float, float, int], ...]  # rate, 99th percentile in milliseconds, number of questions


@dataclass(slots=True, kw_only=True)
class ContenderResult:
    """The figures of one contender; None or empty where nothing was measured."""

    name: str
    error: str = ""  # why it did not run
    facts: dict[str, Any] = field(default_factory=dict)  # what it reported about itself
    em: float | None = None  # exact match on the questions that have an answer, in per cent
    f1: float | None = None  # likewise
    same_answers: float | None = None  # share of all questions answered with the base's text
    rate: float | None = None  # questions a second, many a call; median of the rounds
    ratio: Ratio | None = None
    model_rate: float | None = None  # questions a second if only the model took time: `rate` by its share
    latency: Latency | None = None
    server: ServerResult | None = None
    stages: dict[str, float] = field(default_factory=dict)  # milliseconds a question at `rate`, in working order
    padding: float | None = None  # share of the model's tokens that is padding
    by_batch_tokens: dict[int, float] = field(default_factory=dict)  # questions a second by token budget
    by_length: dict[int, float] = field(default_factory=dict)  # by tokens of a window, one question a call
    by_threads: dict[int, float] = field(default_factory=dict)
    cold_start: float | None = None  # seconds from starting the process to the first answer
    peak_mb: float | None = None  # peak of resident memory
    gpu_mb: float | None = None
    model_mb: float | None = None  # files of the model
    install_mb: float | None = None  # packages that pip installs for it


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResults:
    """The results of one run: the same questions for every contender."""

    title: str
    command: str  # repeats the run
    created: str  # UTC, ISO 8601
    machine: dict[str, Any]  # see `record.record`
    data: dict[str, Any]  # see `compare.compare`
    rounds: int  # of the offline scenario
    noise: tuple[str, ...]  # what disturbed the run, in words
    outcomes: tuple[ContenderResult, ...]  # the base first
    notes: tuple[str, ...] = ()  # what a reader must know, for example that the weights are random
    commit: str | None = None  # of the project, if known

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
    content = msgspec.json.format(msgspec.json.encode(_ResultsFile(1, runs)), indent=1)
    return content.decode() + "\n"


def from_json(text: str) -> list[BenchResults]:
    """Read the runs of a results.json.

    Raises:
        InputError: the text is not a results.json, or has another format.
    """
    try:
        return msgspec.json.decode(text, type=_ResultsFile).runs
    except msgspec.DecodeError as error:
        raise InputError(f"not a results.json that this version of qa-onnx bench wrote: {error}") from error


# Attribute of a `ContenderResult`; its column in results.csv, its heading in reports ("": none), its format there.
FIGURES = (
    ("name", "contender", "contender", ""), ("error", "error", "", ""), ("em", "em", "EM", ".1f"),
    ("f1", "f1", "F1", ".1f"), ("same_answers", "same_answers", "same answers", ".0%"),
    ("rate", "questions_per_second", "questions/s", ",.1f"), ("ratio.median", "ratio", "x base", ",.2f"),
    ("ratio.low", "ratio_low", "", ""), ("ratio.high", "ratio_high", "", ""), ("ratio.interval", "", "95 %", ""),
    ("model_rate", "model_questions_per_second", "model alone", ",.1f"),
    ("latency.p50", "p50_ms", "p50 ms", ",.1f"), ("latency.p90", "p90_ms", "p90 ms", ",.1f"),
    ("latency.p99", "p99_ms", "p99 ms", ",.1f"), ("server.limit_ms", "server_limit_ms", "", ""),
    ("server.rate", "server_questions_per_second", "server q/s", ",.1f"),
    ("cold_start", "cold_start_s", "cold start s", ",.2f"), ("peak_mb", "peak_mb", "peak MB", ",.0f"),
    ("gpu_mb", "gpu_mb", "GPU MB", ",.0f"), ("model_mb", "model_mb", "model MB", ",.1f"),
    ("install_mb", "install_mb", "install MB", ",.0f"),
)  # fmt: skip


def to_csv(runs: list[BenchResults]) -> str:
    """Return a row for each contender of each run; empty where nothing was measured."""
    columns = {column: path for path, column, _, _ in FIGURES if column}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", *columns])
    for run in runs:
        writer.writerows([run.title, *(value_of(one, path) for path in columns.values())] for one in run.outcomes)
    return out.getvalue()


def value_of(outcome: ContenderResult, path: str) -> Any:
    """Return an attribute, also of an attribute as in "latency.p50"; None if it was not measured."""
    value: Any = outcome
    for name in path.split("."):
        value = None if value is None else getattr(value, name)
    return value
