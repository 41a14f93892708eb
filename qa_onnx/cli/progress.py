"""Progress of long commands: bars on a terminal; of jobs that run for hours, lines in a log too."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qa_onnx.cli import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import ProgressColumn

_LINE_EVERY_S = 30.0  # in a log


def _bar(*columns: ProgressColumn) -> Progress:
    console = tables.console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


@contextmanager
def progress(total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr; yield a function to call with the number of questions done. `total` may be unknown."""
    rate = TextColumn("{task.fields[rate]} questions/s, to go")
    with _bar(MofNCompleteColumn(), BarColumn(), rate, TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=total, rate="-")

        def count(done: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, rate="-" if speed is None else f"{speed:.1f}")

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

    Where stderr is no terminal it is a line now and then, at most one each 30 seconds.

    Args:
        total: rows of the whole job.
        done: rows that were done before; they do not count for the speed.
        clock: seconds.
    """
    texts = TextColumn("{task.fields[speed]}, {task.fields[failed]} failed, to go")
    with _bar(MofNCompleteColumn(), BarColumn(), texts, TimeRemainingColumn(elapsed_when_finished=True)) as bar:
        task = bar.add_task("", total=total, completed=done, speed="- rows/s", failed=0)
        started = shown_at = clock()

        def count(now_done: int, failed: int, tokens: int) -> None:
            nonlocal shown_at
            now = clock()
            seconds = max(now - started, 1e-9)
            rate = (now_done - done) / seconds
            speed = f"{rate:,.0f} rows/s, {tokens / seconds:,.0f} tokens/s"
            bar.update(task, completed=now_done, speed=speed, failed=f"{failed:,}")
            if bar.disable and now - shown_at >= _LINE_EVERY_S and now_done < total:
                shown_at = now
                left = (total - now_done) / rate if rate else 0.0
                click.echo(
                    f"{now_done:,} of {total:,} rows, {speed}, {failed:,} failed, {left / 60:,.0f} minutes to go",
                    err=True,
                )

        yield count
