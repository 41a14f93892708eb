"""Progress bars of long commands, on a terminal only."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qa_onnx.cli import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import ProgressColumn


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
