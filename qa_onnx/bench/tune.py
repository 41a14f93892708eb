"""A bundle -> the fastest setting for it on this machine.

    settings --accuracy limit--> screening, one process after another --> final, alternating --> Profile

Only precisions whose receipt shows enough accuracy are tried. Screening measures each setting by itself, which is
quick, but other load on the machine disturbs it. In the final the best few settings and the default alternate, one
running while the others are stopped, and ratios are taken round by round.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.bench.process import ContenderProcess
from qa_onnx.bench.settings import TRIED_TOKENS, Setting, accuracy_note, default_setting, settings
from qa_onnx.bundle.tuned import Profile
from qa_onnx.errors import EngineError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.windows import Example

_FINALISTS = 3
_ROUNDS = 7
_FEWEST_ROUNDS = 3  # when the time is over
_FEWEST_PAIRS = 4
_HOPELESS = 0.6  # of the best rate so far: below this, other batches are not tried
_GAIN = 1.02  # smallest gain over the default: less is noise


@dataclass(slots=True)
class Row:
    """A setting and its figures."""

    setting: Setting
    rate: float = 0.0  # questions a second, many a call; 0 if it was not measured
    gain: float | None = None  # rate as a multiple of the default's, in the final
    p50_ms: float | None = None  # of a question asked alone, in the final
    p99_ms: float | None = None
    note: str = ""
    together: list[float] = field(default_factory=list)  # seconds of each round of the final
    alone: list[float] = field(default_factory=list)  # seconds of each question alone


@dataclass(frozen=True, slots=True, kw_only=True)
class TunePlan:
    """What to ask, and what the winner must reach.

    Raises:
        InputError: a value is out of range.
    """

    examples: Sequence[Example]  # as many of them are asked as the time allows
    data: str  # name of the examples
    min_f1_percent: float = 99.0  # share of fp32's F1 that a precision's receipt must show
    p99_ms: float | None = None  # limit for 99 of 100 questions asked alone; None: no limit
    seconds: float = 120.0  # approximate; decides the number of questions. A busy machine may need more

    def __post_init__(self) -> None:
        if not self.examples:
            raise InputError(f"{self.data} has no question to ask")
        if not 0 <= self.min_f1_percent <= 100:
            raise InputError(f"min_f1_percent is {self.min_f1_percent}; it must be from 0 to 100")
        if self.p99_ms is not None and not self.p99_ms > 0:
            raise InputError(f"p99_ms is {self.p99_ms}; it must be a positive number of milliseconds")
        if not self.seconds > 0:
            raise InputError(f"seconds is {self.seconds}; it must be positive")


def tune(bundle: Bundle, plan: TunePlan, *, show: Callable[[Sequence[Row]], None] | None = None) -> Profile:
    """Find the fastest setting.

    Args:
        bundle: the bundle to tune.
        plan: what to ask and to reach.
        show: is called with all rows after each change.

    Raises:
        EngineError: no setting runs here, or none reaches the plan's limits.
    """
    table = _TuneTable(bundle, plan, show or (lambda _rows: None))
    table.screen()
    return table.final()


@dataclass(slots=True)
class _TuneTable:
    """The rows, and the measurements that fill them."""

    bundle: Bundle
    plan: TunePlan
    show: Callable[[Sequence[Row]], None]
    rows: list[Row] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def screen(self) -> None:
        """Measure each setting by itself, and other token budgets for those that are not far behind."""
        starts = settings(self.bundle)
        self.rows = [Row(setting) for setting in starts]
        for row in list(self.rows):
            row.note = accuracy_note(self.bundle, row.setting.precision, self.plan.min_f1_percent)
            if row.note:
                row.note = f"not tried: {row.note}"
                continue
            row.note = "..."
            self.show(self.rows)
            try:
                self._screen(row, len(starts))
            except EngineError as error:
                row.note = f"does not run here: {error}"
            self.show(self.rows)

    def _screen(self, row: Row, count: int) -> None:
        with self._start(row.setting) as process:
            if not self.pairs:
                budgets = len(TRIED_TOKENS[row.setting.device])
                turns = 3 * count * budgets + 2 * (1 + _FINALISTS) * (1 + _ROUNDS)
                self.pairs = self._sample(process, self.plan.seconds / turns)
            row.rate, row.note = self._rate(process, row.setting), ""
            self.show(self.rows)
            if row.rate < _HOPELESS * max(other.rate for other in self.rows):
                return
            at = self.rows.index(row)
            for batch_tokens in TRIED_TOKENS[row.setting.device][1:]:
                other = Row(row.setting._replace(batch_tokens=batch_tokens))
                other.rate = self._rate(process, other.setting)
                at += 1
                self.rows.insert(at, other)
                self.show(self.rows)

    def _start(self, setting: Setting) -> ContenderProcess:
        load = {"bundle": str(self.bundle.path), **setting._asdict()}
        del load["batch_tokens"]
        return ContenderProcess(str(setting), [sys.executable, "-m", "qa_onnx.bench.answerer", json.dumps(load)])

    def _sample(self, process: ContenderProcess, seconds: float) -> list[tuple[str, str]]:
        """Return as many pairs as take so many seconds; if there are too few, they are repeated."""
        pairs = [(example.question, example.context) for example in self.plan.examples]
        few = [pairs[number % len(pairs)] for number in range(_FEWEST_PAIRS)]
        request = {"pairs": few}
        process.ask(request)  # warm
        took = sum(process.ask(request)["seconds"])
        wanted = max(_FEWEST_PAIRS, int(len(few) * seconds / took))
        return [pairs[number % len(pairs)] for number in range(wanted)]

    def _rate(self, process: ContenderProcess, setting: Setting) -> float:
        request = {"pairs": self.pairs, "options": {"batch_tokens": setting.batch_tokens}}
        process.ask({**request, "pairs": self.pairs[:_FEWEST_PAIRS]})  # warm
        seconds: list[float] = [sum(process.ask(request)["seconds"]) for _ in range(2)]
        return len(self.pairs) / min(seconds)

    def final(self) -> Profile:
        """Measure the best few settings and the default again, alternating; return the winner."""
        default = next(
            (row for row in self.rows if row.setting == default_setting(self.bundle) and row.rate), None
        )
        ranked = sorted((row for row in self.rows if row.rate), key=lambda row: -row.rate)
        if not ranked:
            reasons = "; ".join(f"{row.setting.precision}: {row.note}" for row in self.rows)
            raise EngineError(f"no precision of {self.bundle.path} can be tuned here: {reasons}")
        base = default if default is not None else ranked[0]
        finalists = [base, *[row for row in ranked if row is not base][:_FINALISTS]]
        with ExitStack() as stack:
            runners = [(row, stack.enter_context(self._start(row.setting))) for row in finalists]
            self._alternate(runners)
        for row in finalists:
            row.rate = len(self.pairs) / statistics.median(row.together)
            row.p50_ms, row.p99_ms = (1000 * float(value) for value in np.percentile(row.alone, (50, 99)))
            row.gain = statistics.median(b / s for b, s in zip(base.together, row.together, strict=True))
        return self._winner(base, finalists, has_default=default is not None)

    def _alternate(self, runners: Sequence[tuple[Row, ContenderProcess]]) -> None:
        for number in range(_ROUNDS + 1):
            if number > _FEWEST_ROUNDS and time.perf_counter() - self.started > self.plan.seconds:
                break
            for row, process in runners if number % 2 else runners[::-1]:
                row.note = f"round {number} of {_ROUNDS}" if number else "warms up"
                self.show(self.rows)
                request = {"pairs": self.pairs, "options": {"batch_tokens": row.setting.batch_tokens}}
                together = process.ask({**request, "alone": False})["seconds"]
                alone = process.ask({**request, "alone": True})["seconds"]
                if number:
                    row.together += together
                    row.alone += alone
        for row, _ in runners:
            row.note = ""

    def _winner(self, base: Row, finalists: Sequence[Row], *, has_default: bool) -> Profile:
        limit = self.plan.p99_ms
        good = [row for row in finalists if limit is None or (row.p99_ms or 0) <= limit]
        if not good:
            best = min(row.p99_ms or 0 for row in finalists)
            raise EngineError(
                f"no setting answers 99 of 100 questions within {limit:g} ms on this machine; the best needs "
                f"{best:.1f} ms",
                remedy="allow more, or use a smaller model or shorter texts",
            )
        for row in finalists:
            row.note = "" if row in good else f"too slow: p99 over {limit:g} ms"
        winner = max(good, key=lambda row: row.gain or 0)
        if base in good and (winner.gain or 0) < _GAIN:
            winner = base
        if has_default:
            base.note = f"default {base.note}".strip()
        winner.note = f"{winner.note} chosen".strip()
        self.show(self.rows)
        setting = winner.setting
        return Profile(
            **setting._asdict(),
            questions_per_second=winner.rate,
            gain=winner.gain if has_default else None,
            p99_ms=winner.p99_ms or 0.0,
            data=self.plan.data,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
