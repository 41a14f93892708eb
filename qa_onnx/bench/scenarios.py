"""Contenders that take turns -> what each can do: the scenarios, named as MLPerf's.

    offline        many questions a call: questions a second
    single-stream  one question after another: latency
    server         questions come at random times: the highest rate at which the 99th percentile holds

One contender runs while the others are stopped; they take turns every few questions, the order flips from turn to
turn, and ratios are taken within a turn: see turns.py and results.ratio_of.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.bench import parts
from qa_onnx.bench.plan import FOR_PARTS, FOR_SERVER, Clock
from qa_onnx.bench.record import Noise
from qa_onnx.bench.results import ServerResult, latency_of, ratio_of
from qa_onnx.bench.start import check, sample, start
from qa_onnx.bench.turns import in_turns
from qa_onnx.errors import EngineError
from qa_onnx.evaluation import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.bench.entrants import Entrant
    from qa_onnx.bench.plan import Plan
    from qa_onnx.bench.results import ContenderResult
    from qa_onnx.bench.turns import Runner
    from qa_onnx.data.squad import Gold

_MOST_TOGETHER = 64  # questions that one call of the server scenario takes
_SERVER_STEPS = 8
_HALVINGS = 3  # of the first rate, where that is too high
_FEWEST_ARRIVALS = 30
_BEHIND = 2.0  # times as long a wait in the second half; 3 where nothing but the queue grows, 1 where it does not


@dataclass(slots=True)
class Measured:
    """What `measure` gives.

    Attributes:
        outcomes: in the order of the entrants.
        judged: questions that EM, F1 and same answers are of.
        golds: those of them that were timed.
        rounds: of the offline scenario.
        noise: what disturbed it, in words.
    """

    outcomes: list[ContenderResult]
    judged: Sequence[Gold]
    golds: Sequence[Gold]
    rounds: int
    noise: list[str]


def measure(entrants: Sequence[Entrant], plan: Plan, *, show: Callable[[str, float], None]) -> Measured:
    """Run the scenarios.

    Args:
        entrants: the first that runs is the base.
        plan: what to measure.
        show: is called with what is done now, and the share of the time that is over.

    Raises:
        EngineError: none of the entrants runs, or one dies while it is timed.
    """
    clock = Clock(plan.seconds, show)
    with ExitStack() as stack:
        noise = Noise()
        outcomes, runners = start(entrants, plan, clock, stack)
        judged, golds, rounds = sample(runners, plan, clock)
        check(runners, judged, clock)
        if not runners:
            raise EngineError("; ".join(f"{outcome.name}: {outcome.error}" for outcome in outcomes))
        _offline(runners, golds, rounds, clock)
        if plan.asks_alone:
            _single_stream(runners, golds, clock)
        if "server" in plan.scenarios:
            _server(runners, golds, plan, clock)
        for runner in runners:
            _fill(runner, runners[0], judged, golds, plan)
            peak = runner.contender.peak_bytes()
            runner.outcome.peak_mb = None if peak is None else peak / 1e6
            runner.outcome.gpu_mb = parts.gpu_megabytes(runner.contender.pid)
        own = [runner for runner in runners if runner.entrant.own]
        parts.split_stages(own, golds, clock.say)
        if own and not plan.quick:
            parts.by_size(own, golds, FOR_PARTS * clock.measuring, clock.say)
            parts.by_threads(own, plan, golds, clock.say)
        heard = noise.heard(runner.contender.pid for runner in runners)
    return Measured(outcomes, judged, golds, rounds, heard)


def _offline(runners: Sequence[Runner], golds: Sequence[Gold], rounds: int, clock: Clock) -> None:
    for number in range(rounds):
        clock.say(f"offline, round {number + 1} of {rounds}")
        for runner in runners:
            runner.together.append([])
        for runner, reply in in_turns(runners, golds, number):
            runner.together[-1].append(sum(reply["seconds"]))


def _single_stream(runners: Sequence[Runner], golds: Sequence[Gold], clock: Clock) -> None:
    clock.say("single-stream")
    for runner, reply in in_turns(runners, golds, alone=True):
        runner.alone += reply["seconds"]


def _server(runners: Sequence[Runner], golds: Sequence[Gold], plan: Plan, clock: Clock) -> None:
    limit = plan.p99_ms
    if limit is None:
        limit = 2000 * max(float(np.percentile(runner.alone, 99)) for runner in runners)
    seconds = FOR_SERVER * clock.measuring / (len(runners) * _SERVER_STEPS / 2)
    for runner in runners:
        runner.outcome.server = _rising(runner, golds, limit, seconds, clock)


def _rising(runner: Runner, golds: Sequence[Gold], limit: float, seconds: float, clock: Clock) -> ServerResult:
    """Raise the rate until the 99th percentile passes the limit; where the first is too high, lower it first."""
    rate = 0.6 * _rate(runner, golds)
    best, steps = 0.0, []
    draw = np.random.default_rng(0)
    for number in range(_SERVER_STEPS):
        clock.say(f"server, {rate:.1f} questions a second: {runner.entrant.name}")
        count = max(_FEWEST_ARRIVALS, int(rate * seconds))
        arrivals = np.cumsum(draw.exponential(1 / rate, count)).tolist()
        asked = [golds[index] for index in draw.integers(len(golds), size=count)]
        latencies = runner.ask(asked, arrivals=arrivals, most=_MOST_TOGETHER)["latencies"]
        p99 = 1000 * float(np.percentile(latencies, 99))
        steps.append((rate, p99, count))
        if p99 <= limit and not _falls_behind(latencies, limit):
            best = rate
            rate *= 1.15
        elif best or number == _HALVINGS:
            break
        else:
            rate /= 2
    return ServerResult(limit, best, tuple(steps))


def _falls_behind(latencies: Sequence[float], limit: float) -> bool:
    """Whether questions come faster than they are answered, though the last has not waited for too long yet."""
    half = len(latencies) // 2
    first, second = statistics.mean(latencies[:half]), statistics.mean(latencies[half:])
    return second > _BEHIND * first and 1000 * second > limit / 4


def _fill(runner: Runner, base: Runner, judged: Sequence[Gold], golds: Sequence[Gold], plan: Plan) -> None:
    """The outcome's figures from what was answered and timed."""
    outcome = runner.outcome
    scored = [(answer, gold) for answer, gold in zip(runner.answers, judged, strict=True) if gold.answers]
    if scored:
        outcome.em = 100 * statistics.mean(metrics.exact_match(answer, gold.answers) for answer, gold in scored)
        outcome.f1 = 100 * statistics.mean(metrics.f1(answer, gold.answers) for answer, gold in scored)
    same = (own == other for own, other in zip(runner.answers, base.answers, strict=True))
    outcome.same_answers = statistics.mean(same)
    outcome.rate = _rate(runner, golds)
    outcome.ratio = ratio_of(base.together, runner.together)
    if "single-stream" in plan.scenarios:
        outcome.latency = latency_of(runner.alone)


def _rate(runner: Runner, golds: Sequence[Gold]) -> float:
    return len(golds) / statistics.median(map(sum, runner.together))
