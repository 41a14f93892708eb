"""`qa-onnx tune`: find the fastest setting of a bundle on this machine, and keep it."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from qa_onnx.cli import tables
from qa_onnx.cli.options import bundle_option, data_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.table import Table

    from qa_onnx.bench.tune import Row

_MOST = 1000  # questions of a data file


@click.command
@bundle_option
@data_option
@click.option(
    "--p99-ms",
    type=click.FloatRange(0, min_open=True),
    metavar="MS",
    help="Limit for 99 of 100 questions that are asked alone.",
)
@click.option(
    "--min-f1-percent",
    type=click.FloatRange(0, 100),
    default=99.0,
    show_default=True,
    help="Share of fp32's F1 that a precision's receipt must show. 0: try precisions without a receipt too.",
)
@click.option("--forget", is_flag=True, help="Remove the kept setting, and go back to the default.")
def tune(
    *, bundle: Path | None, data: Path | None, p99_ms: float | None, min_f1_percent: float, forget: bool
) -> None:
    """Find the fastest setting for this machine: engine, precision, threads and batches.

    Each setting runs in a process of its own. The winner is kept in your cache folder, for this bundle on this
    machine, and used wherever you choose no setting yourself. It takes about two minutes.
    """
    from rich.live import Live

    from qa_onnx import Bundle
    from qa_onnx.bench import tune as work
    from qa_onnx.bench.questions import load_questions
    from qa_onnx.bundle.tuned import forget_profile, profile_path, save_profile

    loaded = Bundle.load(bundle)
    if forget:
        with _cache_folder():
            forgotten = forget_profile(loaded)
        click.echo("forgotten" if forgotten else "there was nothing to forget")
        return
    with _cache_folder():  # fail now, not after minutes of work
        profile_path(loaded).parent.mkdir(parents=True, exist_ok=True)
    questions = load_questions(data)
    # The file may be sorted by length, and maybe only the first questions are asked: shuffle them.
    golds = random.Random(0).sample(questions.golds, min(_MOST, len(questions.golds)))
    plan = work.TunePlan(golds=golds, data=questions.name, p99_ms=p99_ms, min_f1_percent=min_f1_percent)
    table = _table([])
    with Live(console=tables.console(stderr=True), auto_refresh=False, transient=True) as live:

        def show(rows: Sequence[Row]) -> None:
            nonlocal table
            table = _table(rows)
            live.update(table, refresh=True)  # on a terminal only

        profile = work.tune(loaded, plan, show=show)
    tables.console().print(table)
    with _cache_folder():
        path = save_profile(loaded, profile)
    click.echo(tables.printable(str(profile)))
    click.echo(f"kept in {path}; qa-onnx tune --forget removes it", err=True)


@contextmanager
def _cache_folder() -> Iterator[None]:
    """Report an error of the operating system as one of the cache folder."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"the cache folder cannot be used: {error}") from error


def _table(rows: Sequence[Row]) -> Table:
    head = "precision", "engine", "threads", "batch tokens", "questions/s", "x default", "p50 ms", "p99 ms", ""
    cells = []
    for row in sorted(rows, key=lambda row: (row.gain is None, -row.rate)):
        setting = row.setting
        figures = (row.rate or None, ".1f"), (row.gain, ".2f"), (row.p50_ms, ".1f"), (row.p99_ms, ".1f")
        batch = f"{setting.batch_tokens:,}" if setting.batch_tokens > 1 else "one window"
        names = (setting.precision, f"{setting.engine}/{setting.device}", str(setting.threads), batch)
        cells.append(
            (*names, *("" if value is None else format(value, form) for value, form in figures), row.note)
        )
    return tables.grid(head, cells, texts=(0, 1, 8))
