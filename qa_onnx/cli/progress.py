"""Progress of long commands: bars on a terminal; of jobs that run for hours, lines in a log too."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qa_onnx.cli import tables
from qa_onnx.cli.notes import note
from qa_onnx.errors import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import ProgressColumn

_LINE_EVERY_S = 30.0  # in a log
_SOON_S = 0.5  # what is over by then shows no bar


def _bar(*columns: ProgressColumn) -> Progress:
    console = tables.console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


@dataclass(slots=True)
class _Line:
    """Tells when the next line of a log is due: at most one each `_LINE_EVERY_S` seconds of a clock."""

    clock: Callable[[], float]
    last: float = field(init=False)

    def __post_init__(self) -> None:
        self.last = self.clock()

    def is_due(self) -> bool:
        now = self.clock()
        if now - self.last < _LINE_EVERY_S:
            return False
        self.last = now
        return True


@contextmanager
def progress(total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr; yield a function to call with the number of questions done. `total` may be unknown.

    Where stderr is no terminal it is a line now and then.
    """
    rate = TextColumn("{task.fields[rate]} questions/s, to go")
    with _bar(MofNCompleteColumn(), BarColumn(), rate, TimeRemainingColumn()) as bar:
        task, line = bar.add_task("", total=total, rate="-"), _Line(time.monotonic)

        def count(done: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, rate="-" if speed is None else f"{speed:.1f}")
            if bar.disable and done != total and line.is_due():
                note(f"{done:,} questions" if total is None else f"{done:,} of {total:,} questions")

        yield count


@contextmanager
def steps() -> Iterator[Callable[[str, float], None]]:
    """Show the current step and the remaining time on stderr; yield a function to call with step and share."""
    with _bar(TextColumn("{task.description}"), BarColumn(bar_width=20), TimeRemainingColumn()) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=share)


@contextmanager
def rows(
    total: int, done: int = 0, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int, int], None]]:
    """Show the rows of a job on stderr; yield what is called with the rows done, those failed, and tokens read.

    Where stderr is no terminal it is a line now and then.

    Args:
        total: rows of the whole job.
        done: rows that were done before; they do not count for the speed.
        clock: seconds.
    """
    texts = TextColumn("{task.fields[speed]}, {task.fields[failed]} failed, to go")
    with _bar(MofNCompleteColumn(), BarColumn(), texts, TimeRemainingColumn(elapsed_when_finished=True)) as bar:
        task = bar.add_task("", total=total, completed=done, speed="- rows/s", failed=0)
        started, line = clock(), _Line(clock)

        def count(now_done: int, failed: int, tokens: int) -> None:
            seconds = max(clock() - started, 1e-9)
            rate = (now_done - done) / seconds
            speed = f"{rate:,.0f} rows/s, {tokens / seconds:,.0f} tokens/s"
            bar.update(task, completed=now_done, speed=speed, failed=f"{failed:,}")
            if bar.disable and now_done < total and line.is_due():
                left = (total - now_done) / rate if rate else 0.0
                note(
                    f"{now_done:,} of {total:,} rows, {speed}, {failed:,} failed, "
                    f"{number_of(round(left / 60), 'minute')} to go"
                )

        yield count


@contextmanager
def reading(unit: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show on stderr how much of a question's texts is read, unless that is soon over.

    Args:
        unit: of what is counted: "windows" or "passages".

    Yields:
        A function to call with what is read so far and with all of it; None where stderr is no terminal.
    """
    bar = _bar(TextColumn("reading"), MofNCompleteColumn(), TextColumn(unit), BarColumn(), TimeRemainingColumn())
    if bar.disable:
        yield None
        return
    task, began = bar.add_task("", total=None), time.monotonic()

    def count(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if time.monotonic() - began > _SOON_S:
            bar.start()

    try:
        yield count
    finally:
        if bar.live.is_started:
            bar.stop()
