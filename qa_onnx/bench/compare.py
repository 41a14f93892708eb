"""Contenders and data -> BenchResults: what `qa-onnx bench` and benchmarks/rivals.py call.

The scenarios are named as MLPerf's:

    offline        many questions a call: questions a second
    single-stream  one question after another: latency
    server         questions arrive at random times: the highest rate at which the 99th percentile keeps the limit

Contenders alternate every few questions, and ratios are taken within a turn: see runners.py and results.ratio_of.
"""

from __future__ import annotations

import os
import statistics
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.bench import parts
from qa_onnx.bench.record import Noise, record
from qa_onnx.bench.results import BenchResults, ServerResult, latency_of, ratio_of
from qa_onnx.bench.runners import FOR_SERVER, Clock, alternate, check, sample, start
from qa_onnx.errors import EngineError
from qa_onnx.evaluation import metrics
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.bench.contenders import Contender
    from qa_onnx.bench.runners import Plan, Runner
    from qa_onnx.data.squad import DataSet, Gold

_MOST_TOGETHER = 64  # questions in one call of the server scenario
_SERVER_STEPS = 8
_HALVINGS = 3  # of the first rate, if that is too high
_FEWEST_ARRIVALS = 30
_BEHIND = 2.0  # mean latency of the second half / first half: 3 if the queue alone grows, 1 if it does not


def cpus_for(threads: int) -> frozenset[int]:
    """Return a CPU of a core for each thread; empty if cores are fewer, or CPUs cannot be chosen."""
    chosen = cpu.core_cpus()
    if threads > len(chosen) or not hasattr(os, "sched_setaffinity"):
        return frozenset()
    return frozenset(chosen[:threads])


def compare(
    contenders: Sequence[Contender],
    data: DataSet,
    plan: Plan,
    *,
    title: str,
    command: str,
    notes: Sequence[str] = (),
    commit: str | None = None,
    show: Callable[[str, float], None] = lambda _text, _share: None,
) -> BenchResults:
    """Measure the contenders, and record the machine and the data.

    Args:
        contenders: the first that runs is the base, which the others are compared with.
        data: where the plan's questions are from.
        plan: what to measure.
        title: of the run.
        command: command line that repeats the run.
        notes: what a reader of the results must know.
        commit: commit of the project.
        show: is called with the current step and the share of the time that is over.

    Raises:
        EngineError: none of the contenders runs, or one dies while it is timed.
    """
    clock = Clock(plan.seconds, show)
    with ExitStack() as stack:
        noise = Noise()
        outcomes, runners = start(contenders, plan, clock, stack)
        judged, golds, rounds = sample(runners, plan, clock)
        check(runners, judged, clock)
        if not runners:
            raise EngineError("; ".join(f"{outcome.name}: {outcome.error}" for outcome in outcomes))
        _offline(runners, golds, rounds, clock)
        if plan.asks_alone:
            clock.say("single-stream")
            for runner, reply in alternate(runners, golds, alone=True):
                runner.alone += reply["seconds"]
        if "server" in plan.scenarios:
            _server(runners, golds, plan, clock)
        for runner in runners:
            _fill(runner, runners[0], judged, golds, plan)
        parts.measure([runner for runner in runners if runner.contender.own], golds, plan, clock)
        disturbances = noise.report(runner.process.pid for runner in runners)
    return BenchResults(
        title=title,
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        machine=record(plan.threads, plan.cpus),
        data=_facts(data, judged, golds),
        rounds=rounds,
        noise=tuple(disturbances),
        notes=tuple(notes),
        outcomes=tuple(outcomes),
    )


def _facts(data: DataSet, judged: Sequence[Gold], golds: Sequence[Gold]) -> dict[str, Any]:
    return {
        "name": data.name,
        "sha256": data.sha256,
        "questions": len(data.golds),
        "asked": len(golds),
        "judged": len(judged),
        "answerable": sum(bool(gold.answers) for gold in judged),
        "median_words": int(statistics.median(len(gold.context.split()) for gold in golds)),
    }


def _offline(runners: Sequence[Runner], golds: Sequence[Gold], rounds: int, clock: Clock) -> None:
    for number in range(rounds):
        clock.say(f"offline, round {number + 1} of {rounds}")
        for runner in runners:
            runner.together.append([])
        for runner, reply in alternate(runners, golds, number):
            runner.together[-1].append(sum(reply["seconds"]))


def _server(runners: Sequence[Runner], golds: Sequence[Gold], plan: Plan, clock: Clock) -> None:
    limit = plan.p99_ms
    if limit is None:
        limit = 2000 * max(float(np.percentile(runner.alone, 99)) for runner in runners)
    seconds = FOR_SERVER * clock.measuring / (len(runners) * _SERVER_STEPS / 2)
    for runner in runners:
        runner.outcome.server = _rising(runner, golds, limit, seconds, clock)


def _rising(runner: Runner, golds: Sequence[Gold], limit: float, seconds: float, clock: Clock) -> ServerResult:
    """Raise the rate until the 99th percentile exceeds the limit; if the first rate does, lower it instead."""
    rate = 0.6 * _rate(runner, golds)
    best, steps = 0.0, []
    draw = np.random.default_rng(0)
    for number in range(_SERVER_STEPS):
        clock.say(f"server, {rate:.1f} questions a second: {runner.contender.name}")
        count = max(_FEWEST_ARRIVALS, int(rate * seconds))
        arrivals = np.cumsum(draw.exponential(1 / rate, count)).tolist()
        drawn = [golds[index] for index in draw.integers(len(golds), size=count)]
        latencies = runner.ask(drawn, arrivals=arrivals, most=_MOST_TOGETHER)["latencies"]
        p99 = 1000 * float(np.percentile(latencies, 99))
        steps.append((rate, p99, count))
        if p99 <= limit and not falls_behind(latencies, limit):
            best = rate
            rate *= 1.15
        elif best or number == _HALVINGS:
            break
        else:
            rate /= 2
    return ServerResult(limit, best, tuple(steps))


def falls_behind(latencies: Sequence[float], limit: float) -> bool:
    """Return True if the queue grows, though the last question has not waited for too long yet."""
    half = len(latencies) // 2
    first, second = statistics.mean(latencies[:half]), statistics.mean(latencies[half:])
    return second > _BEHIND * first and 1000 * second > limit / 4


def _fill(runner: Runner, base: Runner, judged: Sequence[Gold], golds: Sequence[Gold], plan: Plan) -> None:
    """Compute the outcome's figures from answers and times."""
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
    peak = runner.process.peak_bytes()
    outcome.peak_mb = None if peak is None else peak / 1e6
    outcome.gpu_mb = parts.gpu_megabytes(runner.process.pid)


def _rate(runner: Runner, golds: Sequence[Gold]) -> float:
    return len(golds) / statistics.median(map(sum, runner.together))
