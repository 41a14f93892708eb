"""Contenders and data -> BenchResults: what `qa-onnx bench` and benchmarks/rivals.py call."""

from __future__ import annotations

import os
import statistics
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qa_onnx.bench.plan import Clock
from qa_onnx.bench.record import Noise, record
from qa_onnx.bench.results import BenchResults
from qa_onnx.bench.scenarios import run_scenarios
from qa_onnx.bench.start import check, sample, start
from qa_onnx.errors import EngineError
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.bench.contenders import Contender
    from qa_onnx.bench.plan import Plan
    from qa_onnx.data.squad import DataSet


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
        run_scenarios(runners, plan, clock, judged=judged, golds=golds, rounds=rounds)
        disturbances = noise.report(runner.process.pid for runner in runners)
    return BenchResults(
        title=title,
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        machine=record(plan.threads, plan.cpus),
        data={
            "name": data.name,
            "sha256": data.sha256,
            "questions": len(data.golds),
            "asked": len(golds),
            "judged": len(judged),
            "answerable": sum(bool(gold.answers) for gold in judged),
            "median_words": int(statistics.median(len(gold.context.split()) for gold in golds)),
        },
        rounds=rounds,
        noise=tuple(disturbances),
        notes=tuple(notes),
        outcomes=tuple(outcomes),
    )
