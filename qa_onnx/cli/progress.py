"""Progress bar of long commands, on a terminal only."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress(total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr; yield a function to call with the number of questions done. `total` may be unknown."""
    console = Console(stderr=True)
    with Progress(
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[rate]} questions/s, to go"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=total, rate="-")

        def count(done: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, rate="-" if speed is None else f"{speed:.1f}")

        yield count
