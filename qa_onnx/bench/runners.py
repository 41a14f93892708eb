"""Contenders -> runners, started and warm, and the questions to ask them.

contenders --> start, which times the cold start --> sample, as many questions as the time allows --> check answers

Runners alternate every few questions, so that disturbances of the machine affect all of them alike.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qa_onnx.bench.process import ContenderProcess
from qa_onnx.bench.results import ContenderResult
from qa_onnx.data import squad
from qa_onnx.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import ExitStack

    from qa_onnx.bench.contenders import Contender
    from qa_onnx.data.squad import Gold

SCENARIOS = ("offline", "single-stream", "server")
# Shares of the time after the warm-up: for the server scenario, and for parts.py. The rounds get the rest.
FOR_SERVER, FOR_PARTS = 0.2, 0.2
_LEAST_LEFT = 0.4  # share of the whole time that is left for measuring, however long the start takes
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    golds: Sequence[Gold]  # as many of them are asked as the time allows
    scenarios: Sequence[str] = SCENARIOS
    threads: int  # of each contender
    cpus: frozenset[int] = frozenset()  # logical CPUs that each may run on; empty: all
    seconds: float = 180.0  # approximate; decides the number of questions. Slow starts need more
    quick: bool = False  # fewer rounds, one cold start, and no figures by batch, length and threads
    fewest: int | None = None  # questions, however long that takes; None: a few
    most: int | None = None  # questions
    p99_ms: float | None = None  # limit of the server; None: twice the slowest contender's when asked alone

    @property
    def asks_alone(self) -> bool:
        """True if questions are asked one after another; the server's default limit needs that too."""
        return "single-stream" in self.scenarios or ("server" in self.scenarios and self.p99_ms is None)


class Clock:
    """The time of a run: shows progress, and divides what is left after the warm-up.

    Attributes:
        measuring: seconds for everything after the warm-up; 0 until that is known.
    """

    def __init__(self, seconds: float, show: Callable[[str, float], None]) -> None:
        self.measuring = 0.0
        self._seconds, self._show, self._began = seconds, show, time.perf_counter()
        self._planned = seconds

    def say(self, text: str) -> None:
        """Show the step that begins now."""
        self._show(text, min(0.99, (time.perf_counter() - self._began) / self._seconds))

    def warm(self) -> None:
        """End the warm-up: the rest of the time is for measuring."""
        gone = time.perf_counter() - self._began
        self.measuring = max(self._planned - gone, _LEAST_LEFT * self._planned)
        self._seconds = gone + self.measuring


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

    While a runner was stopped, the others have filled the caches of the CPU. So each turn begins with a question
    whose time is not taken: weights are then where they are in a program that answers all the time.

    Args:
        runners: their order is reversed in every other turn.
        golds: questions.
        number: number of the round; it decides which order comes first.
        request: see protocol.py.
    """
    for turn, first in enumerate(range(0, len(golds), TURN), number):
        for runner in runners if turn % 2 else runners[::-1]:
            runner.ask([golds[first - 1]])  # another one than comes first: its length must not be prepared
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
            model_mb=contender.model_bytes and contender.model_bytes / 1e6,
            install_mb=contender.install_bytes and contender.install_bytes / 1e6,
        )
        outcomes.append(outcome)
        if contender.why_not:
            continue
        clock.say(f"{contender.name} starts")
        try:
            process, outcome.cold_start = _cold_start(contender, plan)
        except EngineError as error:
            outcome.error = str(error)
            continue
        outcome.facts = {name: value for name, value in process.facts.items() if name != "ready"}
        runners.append(Runner(contender, stack.enter_context(process), outcome))
    return outcomes, runners


def _cold_start(contender: Contender, plan: Plan) -> tuple[ContenderProcess, float]:
    """Return a process, and the median of the seconds from a start to the first answer."""
    seconds = []
    while True:
        started = time.perf_counter()
        process = ContenderProcess(contender.name, contender.command(plan.threads), cpus=plan.cpus)
        try:
            process.ask({"pairs": [_SHORT], "options": contender.options})
        except BaseException:
            process.end()
            raise
        seconds.append(time.perf_counter() - started)
        if plan.quick or len(seconds) == _COLD_STARTS:
            return process, statistics.median(seconds)
        process.end()


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
    limit = plan.most or len(plan.golds)
    few = squad.sample(tuple(plan.golds), min(_TASTE, limit), seed=0)
    times = []

    def warm(runner: Runner) -> None:
        clock.say(f"{runner.contender.name} warms up")
        times.append(_warm(runner, few) / len(few))

    _each(runners, warm)
    clock.warm()
    fewest, most = _ROUNDS_QUICK if plan.quick else _ROUNDS
    share = 1 - FOR_SERVER * ("server" in plan.scenarios) - FOR_PARTS * (not plan.quick)
    affordable = share * clock.measuring / (sum(times) or 1.0)  # questions to every contender
    times_judged = _JUDGED_QUICK if plan.quick else _JUDGED
    besides = times_judged + _PASSES
    least = _FEWEST if plan.fewest is None else plan.fewest
    count = min(limit, max(least, int(affordable / (fewest + besides))))
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
            name = runner.contender.name
            raise EngineError(f"{name} gives no answer to any question: there is nothing to compare")

    _each(runners, ask)
