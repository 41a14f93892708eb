"""Contenders -> runners, started and warm, and the questions to ask them.

contenders --> start, which times the cold start --> sample, as many questions as the time allows --> check answers

Runners alternate every few questions, so that disturbances of the machine affect all of them alike. Left out: the
scenarios (compare.py).
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qa_onnx.bench.plan import FOR_PARTS, FOR_SERVER
from qa_onnx.bench.process import ContenderProcess
from qa_onnx.bench.results import ContenderResult
from qa_onnx.data import squad
from qa_onnx.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qa_onnx.bench.contenders import Contender
    from qa_onnx.bench.plan import Clock, Plan
    from qa_onnx.data.squad import Gold

TURN = 8  # questions that a contender answers before the next one
_SHORT = ("What colour is the boat?", "The boat is blue and the sail is white.")  # question of the cold start
_COLD_STARTS = 2
_TASTE = 8  # questions of the warm-up
_STABLE = 1.05  # largest ratio of two warm-up calls in a row
_WARM_UPS = 5  # at most
_ROUNDS = (7, 15)  # of the offline scenario: fewest and most
_ROUNDS_QUICK = (7, 9)
_JUDGED, _JUDGED_QUICK = 4, 2  # questions for EM and F1, which are asked once, for each timed question
_FEWEST = 24  # questions
_PASSES = 3  # over the questions in addition to rounds and check: one alone, two for the stages


@dataclass(slots=True, eq=False)
class Runner:
    """A contender that runs, and its figures so far."""

    contender: Contender
    process: ContenderProcess
    outcome: ContenderResult
    together: list[list[float]] = field(default_factory=list)  # seconds of offline, by round and turn
    alone: list[float] = field(default_factory=list)  # seconds of each question of single-stream
    answers: list[str] = field(default_factory=list)  # to the judged questions

    def ask(self, golds: Sequence[Gold], **request: Any) -> dict[str, Any]:
        """Ask questions; for the rest of the request see protocol.py."""
        pairs = [(gold.question, gold.context) for gold in golds]
        options = {**self.contender.options, **request.pop("options", {})}
        return self.process.ask({"pairs": pairs, "options": options, **request})


def alternate(
    runners: Sequence[Runner], golds: Sequence[Gold], number: int = 0, **request: Any
) -> Iterator[tuple[Runner, dict[str, Any]]]:
    """Ask every runner every question, `TURN` at a time; yield the runner and the reply of each turn.

    Args:
        runners: their order is reversed in every other turn.
        golds: questions.
        number: number of the round; it decides which order comes first.
        request: see protocol.py.
    """
    for turn, first in enumerate(range(0, len(golds), TURN), number):
        for runner in runners if turn % 2 else runners[::-1]:
            yield runner, runner.ask(golds[first : first + TURN], **request)


def start(
    contenders: Sequence[Contender], plan: Plan, clock: Clock, stack: ExitStack
) -> tuple[list[ContenderResult], list[Runner]]:
    """Start the contenders that can run, more than once unless the plan is quick, to time the cold start.

    Returns:
        An outcome for each contender, and a runner for each that runs; the stack ends their processes.
    """
    outcomes, runners = [], []
    for contender in contenders:
        outcome = ContenderResult(
            name=contender.name,
            error=contender.why_not,
            model_mb=_megabytes(contender.model_bytes),
            install_mb=_megabytes(contender.install_bytes),
        )
        outcomes.append(outcome)
        if contender.why_not:
            continue
        clock.say(f"{contender.name} starts")
        try:
            times = [] if plan.quick else [_cold_start(contender, plan)[1] for _ in range(_COLD_STARTS - 1)]
            process, seconds = _cold_start(contender, plan, keep=stack)
        except EngineError as error:
            outcome.error = str(error)
            continue
        outcome.facts = {name: value for name, value in process.facts.items() if name != "ready"}
        outcome.cold_start = statistics.median([*times, seconds])
        runners.append(Runner(contender, process, outcome))
    return outcomes, runners


def _cold_start(
    contender: Contender, plan: Plan, *, keep: ExitStack | None = None
) -> tuple[ContenderProcess, float]:
    """Start a process; return it, and the seconds from its start to its first answer. `keep` ends it later."""
    started = time.perf_counter()
    process = ContenderProcess(contender.name, contender.command(plan.threads), cpus=plan.cpus)
    with ExitStack() if keep is None else nullcontext(keep) as stack:
        stack.enter_context(process)
        process.ask({"pairs": [_SHORT], "options": contender.options})
        return process, time.perf_counter() - started


def _each(runners: list[Runner], ask: Callable[[Runner], None]) -> None:
    """Ask each runner; remove those that fail, and keep the reason."""
    for runner in list(runners):
        try:
            ask(runner)
        except EngineError as error:
            runner.outcome.error = str(error)
            runner.process.end()
            runners.remove(runner)


def sample(runners: list[Runner], plan: Plan, clock: Clock) -> tuple[Sequence[Gold], Sequence[Gold], int]:
    """Warm up every contender, and choose as many questions as the rest of the time allows.

    Returns:
        Questions for EM and F1, those of them to time, and the number of rounds of the offline scenario.
    """
    few = squad.sample(tuple(plan.golds), min(_TASTE, plan.most or _TASTE), seed=0)
    times = []

    def warm(runner: Runner) -> None:
        clock.say(f"{runner.contender.name} warms up")
        times.append(_warm(runner, few) / len(few))

    _each(runners, warm)
    clock.warm()
    seconds = sum(times) or 1.0
    fewest, most = _ROUNDS_QUICK if plan.quick else _ROUNDS
    share = 1 - FOR_SERVER * ("server" in plan.scenarios) - FOR_PARTS * (not plan.quick)
    affordable = share * clock.measuring / seconds  # questions to every contender
    times_judged = _JUDGED_QUICK if plan.quick else _JUDGED
    besides = times_judged + _PASSES
    limit = plan.most or len(plan.golds)
    count = min(limit, max(_FEWEST, int(affordable / (fewest + besides))))
    judged = squad.sample(tuple(plan.golds), min(limit, times_judged * count), seed=0)
    golds = squad.sample(judged, count, seed=0)
    return judged, golds, max(fewest, min(most, int(affordable / len(golds)) - besides))


def _warm(runner: Runner, golds: Sequence[Gold]) -> float:
    """Ask until the time is stable, and return it."""
    last = float("inf")
    for _ in range(_WARM_UPS):
        seconds = sum(runner.ask(golds)["seconds"])
        if seconds <= last <= _STABLE * seconds:
            return float(seconds)
        last = min(last, seconds)
    return last


def check(runners: list[Runner], golds: Sequence[Gold], clock: Clock) -> None:
    """Collect every contender's answers before anything is timed; remove contenders without any."""

    def ask(runner: Runner) -> None:
        clock.say(f"{runner.contender.name}: are its answers right?")
        runner.answers = runner.ask(golds)["answers"]
        if not any(runner.answers):
            raise EngineError(
                f"{runner.contender.name} gives no answer to any question: there is nothing to compare"
            )

    _each(runners, ask)


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e6
