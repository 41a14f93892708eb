"""Contenders that are listed -> those that run, warm, and the questions to ask them.

entrants --> start, which times the cold start --> sample, as many questions as the time allows --> check answers

Left out: timing them (scenarios.py).
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

from qa_onnx.bench.contender import Contender
from qa_onnx.bench.plan import FOR_PARTS, FOR_SERVER
from qa_onnx.bench.results import ContenderResult
from qa_onnx.bench.turns import Runner
from qa_onnx.data import squad
from qa_onnx.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.bench.entrants import Entrant
    from qa_onnx.bench.plan import Clock, Plan
    from qa_onnx.data.squad import Gold

_SHORT = ("What colour is the boat?", "The boat is blue and the sail is white.")  # of the cold start
_COLD_STARTS = 2
_TASTE = 8  # questions that tell how fast a contender is
_STABLE = 1.05  # two warm-up calls in a row that differ by less
_WARM_UPS = 5  # at most
_ROUNDS = (7, 15)  # of the offline scenario: fewest and most
_ROUNDS_QUICK = (7, 9)
_JUDGED, _JUDGED_QUICK = 4, 2  # times as many questions as are timed are answered, once, for EM and F1
_FEWEST = 24  # questions
_PASSES = 3  # over the questions besides the rounds and the check: one alone, two for the stages


def start(
    entrants: Sequence[Entrant], plan: Plan, clock: Clock, stack: ExitStack
) -> tuple[list[ContenderResult], list[Runner]]:
    """Start what can run, several times in the long form, to time the cold start.

    Args:
        entrants: in this order.
        plan: what to measure.
        clock: hears who starts.
        stack: ends their processes.

    Returns:
        An outcome for each entrant, and a runner for each that runs.
    """
    outcomes, runners = [], []
    for entrant in entrants:
        outcome = ContenderResult(
            name=entrant.name,
            error=entrant.why_not,
            model_mb=_megabytes(entrant.model_bytes),
            install_mb=_megabytes(entrant.install_bytes),
        )
        outcomes.append(outcome)
        if entrant.why_not:
            continue
        clock.say(f"{entrant.name} starts")
        try:
            times = [] if plan.quick else [_cold_start(entrant, plan)[1] for _ in range(_COLD_STARTS - 1)]
            contender, seconds = _cold_start(entrant, plan, keep=stack)
        except EngineError as error:
            outcome.error = str(error)
            continue
        outcome.facts = {name: value for name, value in contender.facts.items() if name != "ready"}
        outcome.cold_start = statistics.median([*times, seconds])
        runners.append(Runner(entrant, contender, outcome))
    return outcomes, runners


def _cold_start(entrant: Entrant, plan: Plan, *, keep: ExitStack | None = None) -> tuple[Contender, float]:
    """A new process, and the seconds from its start to the answer of a short question; ended where not kept."""
    started = time.perf_counter()
    contender = Contender(entrant.name, entrant.command(plan.threads), cpus=plan.cpus)
    with ExitStack() if keep is None else nullcontext(keep) as stack:
        stack.enter_context(contender)
        contender.ask({"pairs": [_SHORT], "options": entrant.options})
        return contender, time.perf_counter() - started


def _each(runners: list[Runner], ask: Callable[[Runner], None]) -> None:
    """Ask each; those that fail are left out from now on, with the reason."""
    for runner in list(runners):
        try:
            ask(runner)
        except EngineError as error:
            runner.outcome.error = str(error)
            runner.contender.end()
            runners.remove(runner)


def sample(runners: list[Runner], plan: Plan, clock: Clock) -> tuple[Sequence[Gold], Sequence[Gold], int]:
    """Let every contender warm up, and choose as much to ask as the time then allows.

    Returns:
        Questions to judge answers by, those of them to time, and the rounds of the offline scenario.
    """
    few = squad.sample(tuple(plan.golds), min(_TASTE, plan.most or _TASTE), seed=0)
    times = []

    def warm(runner: Runner) -> None:
        clock.say(f"{runner.entrant.name} warms up")
        times.append(_warm(runner, few) / len(few))

    _each(runners, warm)
    clock.warm()
    seconds = sum(times) or 1.0
    fewest, most = _ROUNDS_QUICK if plan.quick else _ROUNDS
    share = 1 - FOR_SERVER * ("server" in plan.scenarios) - FOR_PARTS * (not plan.quick)
    asked = share * clock.measuring / seconds  # questions, each by every contender
    times_judged = _JUDGED_QUICK if plan.quick else _JUDGED
    besides = times_judged + _PASSES
    limit = plan.most or len(plan.golds)
    count = min(limit, max(_FEWEST, int(asked / (fewest + besides))))
    judged = squad.sample(tuple(plan.golds), min(limit, times_judged * count), seed=0)
    golds = squad.sample(judged, count, seed=0)
    return judged, golds, max(fewest, min(most, int(asked / len(golds)) - besides))


def _warm(runner: Runner, golds: Sequence[Gold]) -> float:
    """Ask until the time is stable, and give it."""
    last = float("inf")
    for _ in range(_WARM_UPS):
        seconds = sum(runner.ask(golds)["seconds"])
        if seconds <= last <= _STABLE * seconds:
            return float(seconds)
        last = min(last, seconds)
    return last


def check(runners: list[Runner], golds: Sequence[Gold], clock: Clock) -> None:
    """Every contender's answers, before anything is timed; who has none is left out."""

    def ask(runner: Runner) -> None:
        clock.say(f"{runner.entrant.name}: are its answers right?")
        runner.answers = runner.ask(golds)["answers"]
        if not any(runner.answers):
            raise EngineError(f"{runner.entrant.name} answers nothing: there is nothing to compare")

    _each(runners, ask)


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e6
