"""Contenders that take turns -> what each can do: the scenarios, named as MLPerf's.

    offline        many questions a call: questions a second
    single-stream  one question after another: latency
    server         questions come at random times: the highest rate at which the 99th percentile holds

One contender runs while the others are stopped; they take turns every few questions, the order flips from turn to
turn, and ratios are taken within a turn: see turns.py and results.ratio_of.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx import metrics, squad
from qa_onnx.bench import parts
from qa_onnx.bench.contender import Contender
from qa_onnx.bench.record import Noise
from qa_onnx.bench.results import Outcome, Server, latency_of, ratio_of
from qa_onnx.bench.turns import Runner, in_turns
from qa_onnx.errors import EngineError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.bench.entrants import Entrant
    from qa_onnx.squad import Gold

SCENARIOS = ("offline", "single-stream", "server")

_SHORT = ("What colour is the boat?", "The boat is blue and the sail is white.")  # of the cold start
_COLD_STARTS = 2
_TASTE = 8  # questions that tell how fast a contender is
_STABLE = 1.05  # two warm-up calls in a row that differ by less
_WARM_UPS = 5  # at most
_ROUNDS = (7, 15)  # of the offline scenario: fewest and most
_ROUNDS_QUICK = (7, 9)
_JUDGED, _JUDGED_QUICK = 4, 2  # times as many questions as are timed are answered, once, for EM and F1
_FEWEST = 24  # questions
_MOST_TOGETHER = 64  # questions that one call of the server scenario takes
_SERVER_STEPS = 8
_HALVINGS = 3  # of the first rate, where that is too high
_FEWEST_ARRIVALS = 30
_BEHIND = 2.0  # times as long a wait in the second half; 3 where nothing but the queue grows, 1 where it does not
# Shares of the time that is left when all are warm, of the server scenario and of parts.py; rounds have the rest.
_FOR_SERVER, _FOR_PARTS = 0.2, 0.2
_LEAST_LEFT = 0.4  # of all the time, however long the start took
_PASSES = 3  # over the questions besides the rounds and the check: one alone, two for the stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        golds: questions; of many, as many as the time allows are asked.
        scenarios: of `SCENARIOS`.
        threads: of each contender.
        cpus: logical CPUs that each may run on; empty: all.
        seconds: that it should take, about; the number of questions follows from it. Contenders that start slowly
            need more.
        quick: fewer rounds, one cold start, and no figures by batch, length and threads.
        most: questions, at most; None: no limit.
        p99_ms: limit of the server scenario; None: twice what the slowest contender needs when asked alone.

    Raises:
        InputError: a value is out of range.
    """

    golds: Sequence[Gold]
    scenarios: Sequence[str] = SCENARIOS
    threads: int
    cpus: frozenset[int] = frozenset()
    seconds: float = 180.0
    quick: bool = False
    most: int | None = None
    p99_ms: float | None = None

    @property
    def asks_alone(self) -> bool:
        """Whether questions are asked one after another: the server's usual limit follows from that."""
        return "single-stream" in self.scenarios or ("server" in self.scenarios and self.p99_ms is None)

    def __post_init__(self) -> None:
        if unknown := set(self.scenarios).difference(SCENARIOS):
            raise InputError(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
        if not self.scenarios:
            raise InputError(f"name a scenario: {', '.join(SCENARIOS)}")
        for name, value in (("seconds", self.seconds), ("p99_ms", self.p99_ms)):
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; it must be more than 0")


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

    outcomes: list[Outcome]
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
        outcomes, runners = _start(entrants, plan, clock, stack)
        judged, golds, rounds = _sample(runners, plan, clock)
        _check(runners, judged, clock)
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
            parts.by_size(own, golds, _FOR_PARTS * clock.measuring, clock.say)
            parts.by_threads(own, plan, golds, clock.say)
        heard = noise.heard(runner.contender.pid for runner in runners)
    return Measured(outcomes, judged, golds, rounds, heard)


class Clock:
    """Says what is done, and how much of the time is over.

    Attributes:
        measuring: seconds for what comes after the warm-up; 0 before that is known.
    """

    def __init__(self, seconds: float, show: Callable[[str, float], None]) -> None:
        self.measuring = 0.0
        self._seconds, self._show, self._began = seconds, show, time.perf_counter()
        self._planned = seconds

    def say(self, text: str) -> None:
        """It begins with this."""
        self._show(text, min(0.99, (time.perf_counter() - self._began) / self._seconds))

    def warm(self) -> None:
        """All are warm: what is left of the time is for measuring."""
        gone = time.perf_counter() - self._began
        self.measuring = max(self._planned - gone, _LEAST_LEFT * self._planned)
        self._seconds = gone + self.measuring


def _start(
    entrants: Sequence[Entrant], plan: Plan, clock: Clock, stack: ExitStack
) -> tuple[list[Outcome], list[Runner]]:
    """Start what can run, several times in the long form, to time the cold start."""
    outcomes, runners = [], []
    for entrant in entrants:
        outcome = Outcome(
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


def _sample(runners: list[Runner], plan: Plan, clock: Clock) -> tuple[Sequence[Gold], Sequence[Gold], int]:
    """Questions to judge by and to time, and rounds, as the time allows, once every contender is warm."""
    few = squad.sample(tuple(plan.golds), min(_TASTE, plan.most or _TASTE), seed=0)
    times = []

    def warm(runner: Runner) -> None:
        clock.say(f"{runner.entrant.name} warms up")
        times.append(_warm(runner, few) / len(few))

    _each(runners, warm)
    clock.warm()
    seconds = sum(times) or 1.0
    fewest, most = _ROUNDS_QUICK if plan.quick else _ROUNDS
    share = 1 - _FOR_SERVER * ("server" in plan.scenarios) - _FOR_PARTS * (not plan.quick)
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


def _check(runners: list[Runner], golds: Sequence[Gold], clock: Clock) -> None:
    """Every contender's answers, before anything is timed."""

    def check(runner: Runner) -> None:
        clock.say(f"{runner.entrant.name}: are its answers right?")
        runner.answers = runner.ask(golds)["answers"]
        if not any(runner.answers):
            raise EngineError(f"{runner.entrant.name} answers nothing: there is nothing to compare")

    _each(runners, check)


def _offline(runners: Sequence[Runner], golds: Sequence[Gold], rounds: int, clock: Clock) -> None:
    for number in range(rounds):
        clock.say(f"offline, round {number + 1} of {rounds}")
        for runner in runners:
            runner.together.append([])
        for runner, seconds in in_turns(runners, golds, number):
            runner.together[-1].append(sum(seconds))


def _single_stream(runners: Sequence[Runner], golds: Sequence[Gold], clock: Clock) -> None:
    clock.say("single-stream")
    for runner, seconds in in_turns(runners, golds, alone=True):
        runner.alone += seconds


def _server(runners: Sequence[Runner], golds: Sequence[Gold], plan: Plan, clock: Clock) -> None:
    limit = plan.p99_ms
    if limit is None:
        limit = 2000 * max(float(np.percentile(runner.alone, 99)) for runner in runners)
    seconds = _FOR_SERVER * clock.measuring / (len(runners) * _SERVER_STEPS / 2)
    for runner in runners:
        runner.outcome.server = _rising(runner, golds, limit, seconds, clock)


def _rising(runner: Runner, golds: Sequence[Gold], limit: float, seconds: float, clock: Clock) -> Server:
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
    return Server(limit, best, tuple(steps))


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


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e6
