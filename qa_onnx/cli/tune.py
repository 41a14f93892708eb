"""`qa-onnx tune`: find the fastest setting of a bundle on this machine, and keep it."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from qa_onnx.cli import tables
from qa_onnx.cli.options import bundle_option, data_option
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.table import Table

    from qa_onnx.bench.tune import Row, TunePlan


@click.command(short_help="Find the fastest setting for this machine, and keep it.")
@bundle_option
@data_option
@click.option("--p99-ms", type=float, metavar="MS", help="Limit for 99 of 100 questions that are asked alone.")
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
    from qa_onnx.bundle.tuned import forget_profile, profile_path, save_profile

    loaded = Bundle.load(bundle)
    if forget:
        with _cache_folder():
            click.echo("forgotten" if forget_profile(loaded) else "there was nothing to forget")
        return
    with _cache_folder():  # fail now, not after minutes of work
        profile_path(loaded).parent.mkdir(parents=True, exist_ok=True)
    plan = _plan(data, p99_ms, min_f1_percent)
    console = tables.console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        rows: list[Row] = []

        def show(now: Sequence[Row]) -> None:
            rows[:] = now
            if console.is_terminal:
                live.update(_table(rows), refresh=True)

        profile = work.tune(loaded, plan, show=show)
    tables.console().print(_table(rows))
    with _cache_folder():
        path = save_profile(loaded, profile)
    click.echo(str(profile))
    click.echo(f"kept in {path}; qa-onnx tune --forget removes it", err=True)


@contextmanager
def _cache_folder() -> Iterator[None]:
    """Report an error of the operating system as one of the cache folder."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"the cache folder cannot be used: {error}") from error


def _plan(data: Path | None, p99_ms: float | None, min_f1_percent: float) -> TunePlan:
    from qa_onnx import Example
    from qa_onnx.bench.questions import load_questions
    from qa_onnx.bench.tune import TunePlan
    from qa_onnx.data import squad

    questions = load_questions() if data is None else squad.load(data, limit=1000)
    examples, name = [Example(gold.question, gold.context) for gold in questions.golds], questions.name
    # The file may be sorted by length, and maybe only the first questions are asked: shuffle them.
    random.Random(0).shuffle(examples)
    try:
        return TunePlan(examples=examples, data=name, p99_ms=p99_ms, min_f1_percent=min_f1_percent)
    except InputError as error:
        raise click.UsageError(str(error)) from error


def _table(rows: Sequence[Row]) -> Table:
    columns = "precision", "engine", "threads", "batch tokens", "questions/s", "x default", "p50 ms", "p99 ms", ""
    table = tables.plain(*columns, left=("precision", "engine", ""))
    for row in sorted(rows, key=lambda row: (row.gain is None, -row.rate)):
        setting = row.setting
        table.add_row(
            setting.precision,
            f"{setting.engine}/{setting.device}",
            str(setting.threads),
            f"{setting.batch_tokens:,}" if setting.batch_tokens > 1 else "one window",
            f"{row.rate:.1f}" if row.rate else "",
            *("" if value is None else f"{value:.2f}" for value in (row.gain,)),
            *("" if value is None else f"{value:.1f}" for value in (row.p50_ms, row.p99_ms)),
            row.note,
        )
    return table
