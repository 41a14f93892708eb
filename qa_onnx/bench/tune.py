"""A bundle -> the fastest setting for it on this machine.

    settings --accuracy limit--> screening, one process after another --> final, alternating --> Profile

Screening measures each setting by itself, which is quick, but other load on the machine disturbs it. In the final
the best few settings and the default alternate, and ratios are taken round by round.
"""

from __future__ import annotations

import itertools
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qa_onnx.bench.contenders import answerer, installed_backends
from qa_onnx.bench.process import ContenderProcess
from qa_onnx.bundle.choice import choose
from qa_onnx.bundle.tuned import Profile
from qa_onnx.engines.lanes import pays_off
from qa_onnx.engines.names import PRECISIONS
from qa_onnx.errors import EngineError
from qa_onnx.machine import cpu
from qa_onnx.options import BATCH_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.data.squad import Gold

_TRIED_TOKENS = {  # token budgets by device, the default first; 1: each window alone
    "cpu": (BATCH_TOKENS["cpu"], 1, 384, 2048),
    "cuda": (BATCH_TOKENS["cuda"], 384, 1024, 4096),
}
_FINALISTS = 3
_ROUNDS = 7
_FEWEST_ROUNDS = 3  # when the time is over
_FEWEST_PAIRS = 4
_HOPELESS = 0.6  # of the best rate so far: below this, other batches are not tried
_GAIN = 1.02  # smallest difference of speed that counts: less is noise


class Setting(NamedTuple):
    """One way to run a bundle; see `Reader.load` and `Options.batch_tokens`."""

    precision: str
    engine: str
    device: str
    threads: int
    batch_tokens: int


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
    """What to ask, and what the winner must reach."""

    golds: Sequence[Gold]  # as many of them are asked as the time allows
    data: str  # name of the questions
    min_f1_percent: float = 99.0  # share of fp32's F1 that a precision's receipt must show
    p99_ms: float | None = None  # limit for 99 of 100 questions asked alone; None: no limit
    seconds: float = 120.0  # approximate; decides the number of questions. A busy machine may need more


def tune(bundle: Bundle, plan: TunePlan, *, show: Callable[[Sequence[Row]], None] = lambda _rows: None) -> Profile:
    """Find the fastest setting.

    Args:
        bundle: the bundle to tune.
        plan: what to ask and to reach.
        show: is called with all rows after each change.

    Raises:
        EngineError: no setting runs here, or none reaches the plan's limits.
    """
    table = _TuneTable(bundle, plan, show)
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
        self.rows = [Row(setting) for setting in settings(self.bundle)]
        for row in list(self.rows):
            row.note = accuracy_note(self.bundle, row.setting.precision, self.plan.min_f1_percent)
            if row.note:
                row.note = f"not tried: {row.note}"
                continue
            row.note = "..."
            self.show(self.rows)
            try:
                with self._start(row.setting) as process:
                    self._screen(row, process)
            except EngineError as error:
                row.note = f"does not run here: {error}"
            self.show(self.rows)

    def _screen(self, row: Row, process: ContenderProcess) -> None:
        if not self.pairs:
            tried = sum(len(self._tried(other)) for other in self.rows)
            turns = 3 * tried + 2 * (1 + _FINALISTS) * (1 + _ROUNDS)
            self.pairs = self._sample(process, self.plan.seconds / turns)
        row.rate, row.note = process.rate(self.pairs, _options(row)), ""
        self.show(self.rows)
        if row.rate < _HOPELESS * max(other.rate for other in self.rows):
            return
        for at, batch_tokens in enumerate(self._tried(row)[1:], self.rows.index(row) + 1):
            other = Row(row.setting._replace(batch_tokens=batch_tokens))
            other.rate = process.rate(self.pairs, _options(other))
            self.rows.insert(at, other)
            self.show(self.rows)

    def _tried(self, row: Row) -> tuple[int, ...]:
        return _budgets(row.setting, self.bundle.graph(row.setting.precision).size)

    def _start(self, setting: Setting) -> ContenderProcess:
        arguments = {"bundle": str(self.bundle.path), **setting._asdict()}
        del arguments["batch_tokens"]
        return ContenderProcess(str(setting), answerer(arguments, setting.threads))

    def _sample(self, process: ContenderProcess, seconds: float) -> list[tuple[str, str]]:
        """Return as many pairs as take so many seconds; if there are too few, they are repeated."""
        pairs = itertools.cycle([(gold.question, gold.context) for gold in self.plan.golds])
        few = list(itertools.islice(pairs, _FEWEST_PAIRS))
        wanted = int(process.rate(few, {}) * seconds)
        return [*few, *itertools.islice(pairs, max(0, wanted - len(few)))]

    def final(self) -> Profile:
        """Measure the best few settings and the default again, alternating; return the winner."""
        ranked = sorted((row for row in self.rows if row.rate), key=lambda row: -row.rate)
        if not ranked:
            reasons = "; ".join(f"{row.setting.precision}: {row.note}" for row in self.rows)
            raise EngineError(f"no precision of {self.bundle.path} can be tuned here: {reasons}")
        default = default_setting(self.bundle)
        base = next((row for row in ranked if row.setting == default), ranked[0])
        finalists = [base, *[row for row in ranked if row is not base][:_FINALISTS]]
        with ExitStack() as stack:
            runners = [(row, stack.enter_context(self._start(row.setting))) for row in finalists]
            self._alternate(runners)
        for row in ranked:
            row.note = "" if row in finalists else "slower in a first look"
        for row in finalists:
            row.rate = len(self.pairs) / statistics.median(row.together)
            row.p50_ms, row.p99_ms = (1000 * float(value) for value in np.percentile(row.alone, (50, 99)))
            row.gain = statistics.median(b / s for b, s in zip(base.together, row.together, strict=True))
        return self._winner(base, finalists, has_default=base.setting == default)

    def _alternate(self, runners: Sequence[tuple[Row, ContenderProcess]]) -> None:
        for number in range(_ROUNDS + 1):
            if number > _FEWEST_ROUNDS and time.perf_counter() - self.started > self.plan.seconds:
                break
            for row, process in runners if number % 2 else runners[::-1]:
                row.note = f"round {number} of {_ROUNDS}" if number else "warms up"
                self.show(self.rows)
                request = {"pairs": self.pairs, "options": _options(row)}
                together = process.ask(request)["seconds"]
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
        if base in good:
            good = [row for row in good if row is base or (row.gain or 0) >= _GAIN]
        fastest = max(row.gain or 0 for row in good)
        # Of settings that are equally fast, the one that changes least.
        equal = [row for row in good if (row.gain or 0) * _GAIN > fastest]
        winner = min(equal, key=lambda row: (_changes(row.setting, base.setting), -(row.gain or 0)))
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


def _budgets(setting: Setting, graph_bytes: int) -> tuple[int, ...]:
    """Return the token budgets to try, the default first: no larger ones where windows run side by side."""
    tried = _TRIED_TOKENS[setting.device]
    return tried[:2] if setting.device == "cpu" and pays_off(setting.threads, graph_bytes) else tried


def _changes(setting: Setting, base: Setting) -> int:
    """Count the fields in which a setting differs from another."""
    return sum(one != other for one, other in zip(setting, base, strict=True))


def _options(row: Row) -> dict[str, int]:
    return {"batch_tokens": row.setting.batch_tokens}


def accuracy_note(bundle: Bundle, precision: str, min_f1_percent: float) -> str:
    """Return why a precision must not be used; empty if it may."""
    receipt = bundle.graph(precision).receipt
    if min_f1_percent == 0 or (receipt is None and not PRECISIONS[precision].needs_receipt):
        return ""
    if receipt is None:
        return "it has no receipt with its accuracy: export it with --eval-data, or use --min-f1-percent 0"
    if receipt.percent_of_fp32 < min_f1_percent:
        return f"its F1 is {receipt.percent_of_fp32:.2f} % of fp32's, less than {min_f1_percent:g} %"
    return ""


def settings(bundle: Bundle) -> list[Setting]:
    """Return a setting for each usable backend, precision and number of threads, the default one first."""
    most = cpu.default_threads()
    tried = []
    for precision in bundle.manifest.graphs:
        for backend, reason in installed_backends(bundle, precision):
            if reason:
                continue  # qa-onnx doctor explains it
            device = backend.device
            counts = sorted({most, max(1, most // 2)}, reverse=True) if device == "cpu" else [most]
            tried += [Setting(precision, backend.engine, device, count, BATCH_TOKENS[device]) for count in counts]
    default = default_setting(bundle) if tried else None
    return sorted(tried, key=lambda setting: setting != default)


def default_setting(bundle: Bundle) -> Setting:
    """Return the setting that `Reader.load` uses without a profile.

    Raises:
        EngineError: the bundle holds nothing for the CPU that runs here.
    """
    choice = choose(bundle)
    return Setting(choice.precision, choice.backend.engine, "cpu", cpu.default_threads(), BATCH_TOKENS["cpu"])
