"""Entrants and data -> Results: what `qa-onnx bench` and benchmarks/rivals.py call."""

from __future__ import annotations

import os
import statistics
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qa_onnx.bench.record import record
from qa_onnx.bench.results import BenchResults
from qa_onnx.bench.scenarios import measure
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.bench.entrants import Entrant
    from qa_onnx.bench.plan import Plan
    from qa_onnx.data.squad import DataSet


def cpus_for(threads: int) -> frozenset[int]:
    """The logical CPUs that so many threads get: one a core; empty where cores are fewer, or cannot be chosen."""
    chosen = cpu.core_cpus()
    if threads > len(chosen) or not hasattr(os, "sched_setaffinity"):
        return frozenset()
    return frozenset(chosen[:threads])


def compare(
    entrants: Sequence[Entrant],
    data: DataSet,
    plan: Plan,
    *,
    title: str,
    command: str,
    notes: Sequence[str] = (),
    commit: str | None = None,
    show: Callable[[str, float], None] = lambda _text, _share: None,
) -> BenchResults:
    """Measure the entrants, and write down on what machine and with which data.

    Args:
        entrants: the first that runs is what the others are compared with.
        data: where the plan's questions are from.
        plan: what to measure.
        title: of the run.
        command: that repeats it.
        notes: what a reader must know.
        commit: of the project.
        show: see `measure`.

    Raises:
        EngineError: none of the entrants runs, or one dies on the way.
    """
    measured = measure(entrants, plan, show=show)
    words = [len(gold.context.split()) for gold in measured.golds]
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
            "asked": len(measured.golds),
            "judged": len(measured.judged),
            "answerable": sum(bool(gold.answers) for gold in measured.judged),
            "median_words": int(statistics.median(words)),
        },
        rounds=measured.rounds,
        noise=tuple(measured.noise),
        notes=tuple(notes),
        outcomes=tuple(measured.outcomes),
    )
