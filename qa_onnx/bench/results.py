"""What a run of the benchmark found: the figures, as JSON, and as rows of a table.

    measured figures --> Outcome, one a contender --> Results, one a run --> results.json, results.csv

Left out: measuring (scenarios.py, parts.py) and showing (report.py).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
_RESAMPLES = 2000
_LATENCIES_KEPT = 200  # quantiles of each contender's latencies, for the plot


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the base's speed; not quite the quotient of the two rates, which are medians of whole rounds.

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


def ratio_of(base: list[list[float]], own: list[list[float]]) -> Ratio:
    """The ratio of speeds, from the seconds of the same work in the same turns of the same rounds.

    For each turn of a round, which asks the same questions in every round, the median over the rounds is taken;
    turns then weigh as much as they last. The interval resamples rounds (Efron and Tibshirani, An Introduction to
    the Bootstrap, 1993), so few rounds give a wide one, which never reaches beyond what was seen.

    Args:
        base: of the one to compare with, by round and turn.
        own: of the other.
    """
    times = np.array([base, own])
    chosen = np.random.default_rng(0).integers(len(base), size=(_RESAMPLES, len(base)))
    low, high = np.percentile(_median_ratio(*times[:, chosen]), (2.5, 97.5))
    rounds = times[0].sum(axis=-1) / times[1].sum(axis=-1)
    return Ratio(float(_median_ratio(*times)), float(low), float(high), tuple(rounds.tolist()))


def _median_ratio(base: NDArray[np.float64], own: NDArray[np.float64]) -> Any:
    """Of times (..., rounds, turns); see `ratio_of`."""
    weights = np.median(base, axis=-2)
    return weights.sum(axis=-1) / (weights / np.median(base / own, axis=-2)).sum(axis=-1)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from question to answer, asked one after another.

    Attributes:
        n: how many were timed.
        p50, p90, p99: percentiles.
        quantiles: evenly spaced ones, from the least to the largest.
    """

    n: int
    p50: float
    p90: float
    p99: float
    quantiles: tuple[float, ...]


def latency_of(seconds: list[float]) -> Latency:
    """The distribution of some times."""
    milliseconds = 1000 * np.array(seconds)
    p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 99)))
    shares = np.linspace(0, 100, min(len(seconds), _LATENCIES_KEPT))
    return Latency(len(seconds), p50, p90, p99, tuple(np.percentile(milliseconds, shares).round(3).tolist()))


@dataclass(frozen=True, slots=True)
class ServerResult:
    """Questions that come at random times (Poisson), at rising rates.

    Attributes:
        limit_ms: what the 99th percentile of the latency must not pass.
        rate: the highest rate tried, in questions a second, at which it did not; 0: none.
        steps: rate, 99th percentile in milliseconds, and number of questions of each step.
    """

    limit_ms: float
    rate: float
    steps: tuple[tuple[float, float, int], ...]


@dataclass(slots=True, kw_only=True)
class ContenderResult:
    """What became of one contender. What was not measured is None, or empty.

    Attributes:
        name: as it is shown.
        error: why it did not run; "" where it did.
        facts: what it said of itself.
        em: exact match on the questions that have an answer, in per cent; like f1.
        f1: in per cent.
        same_answers: share of all questions answered with the base's text.
        rate: questions a second, many a call; the median round.
        ratio: of that to the base.
        model_rate: questions a second if there were nothing but the model: `rate` by its share of the time.
        latency: each question in a call of its own.
        server: see `ServerResult`.
        stages: milliseconds a question of each stage at `rate`, in the order of the work.
        padding: share of the model's tokens that is padding.
        by_batch_tokens: token budget of a batch -> questions a second, on texts that fill a window.
        by_length: tokens of a window -> questions a second, one question a call.
        by_threads: threads -> questions a second.
        cold_start: seconds from starting the process to the first answer.
        peak_mb: resident memory at its peak.
        gpu_mb: memory on the GPU.
        model_mb: files of the model.
        install_mb: what pip installs for it.
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
    """One run: the same questions for every contender.

    Attributes:
        title: what was compared.
        command: that repeats it.
        created: when, UTC, ISO 8601.
        commit: of the project, where that is known.
        machine: see `record.record`.
        data: name and sha256 of the data, how many questions it has, how many were asked against the clock, how
            many EM and F1 are of, how many of these have an answer, and median words of a context.
        rounds: of the offline scenario.
        noise: what disturbed the run, in words.
        notes: what a reader must know, such as weights that are random.
        outcomes: the base first.
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
        """The outcomes of those that ran."""
        return tuple(outcome for outcome in self.outcomes if not outcome.error)


def to_json(runs: list[BenchResults]) -> str:
    """Runs as the content of results.json."""
    content = {"format": FORMAT, "runs": [dataclasses.asdict(run) for run in runs]}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> list[BenchResults]:
    """The runs of a results.json.

    Raises:
        InputError: it is none, or one of another version.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise InputError(f"results.json has format {content['format']}; this version reads {FORMAT}")
        return [_results(run) for run in content["runs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"this is no results.json of qa-onnx bench: {error!r}") from error


def _results(run: dict[str, Any]) -> BenchResults:
    outcomes = tuple(_outcome(outcome) for outcome in run["outcomes"])
    return BenchResults(
        **{**run, "outcomes": outcomes, "noise": tuple(run["noise"]), "notes": tuple(run["notes"])}
    )


def _outcome(content: dict[str, Any]) -> ContenderResult:
    outcome = ContenderResult(**content)
    for name, kind in (("ratio", Ratio), ("latency", Latency), ("server", ServerResult)):
        value = content[name]
        if value is not None:
            setattr(outcome, name, kind(**{key: _tuple(item) for key, item in value.items()}))
    for name in ("by_batch_tokens", "by_length", "by_threads"):
        setattr(outcome, name, {int(key): rate for key, rate in content[name].items()})
    return outcome


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list) else value


_COLUMNS = (
    "run", "contender", "error", "em", "f1", "same_answers", "questions_per_second", "ratio", "ratio_low",
    "ratio_high", "model_questions_per_second", "p50_ms", "p90_ms", "p99_ms", "server_limit_ms",
    "server_questions_per_second", "cold_start_s", "peak_mb", "gpu_mb", "model_mb", "install_mb",
)  # fmt: skip


def to_csv(runs: list[BenchResults]) -> str:
    """One row a contender of each run; empty where nothing was measured."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run in runs:
        for outcome in run.outcomes:
            writer.writerow({"run": run.title, **_row(outcome)})
    return out.getvalue()


def _row(outcome: ContenderResult) -> dict[str, object]:
    ratio, latency, server = outcome.ratio, outcome.latency, outcome.server
    return {
        "contender": outcome.name,
        "error": outcome.error,
        **{name: getattr(outcome, name) for name in ("em", "f1", "same_answers", "peak_mb", "gpu_mb")},
        **{name: getattr(outcome, name) for name in ("model_mb", "install_mb")},
        "questions_per_second": outcome.rate,
        "model_questions_per_second": outcome.model_rate,
        "cold_start_s": outcome.cold_start,
        **({"ratio": ratio.median, "ratio_low": ratio.low, "ratio_high": ratio.high} if ratio else {}),
        **({"p50_ms": latency.p50, "p90_ms": latency.p90, "p99_ms": latency.p99} if latency else {}),
        **({"server_limit_ms": server.limit_ms, "server_questions_per_second": server.rate} if server else {}),
    }
