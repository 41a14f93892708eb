"""`qa-onnx tune`: find the fastest setting of a bundle on this machine, and keep it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import click

from qa_onnx.cli import tables
from qa_onnx.cli.notes import note, quiet_option, verbose_option
from qa_onnx.cli.options import BundleCommand, bundle_option, data_option
from qa_onnx.errors import InputError, number_of
from qa_onnx.machine.files import os_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from qa_onnx.bench.tune import Row

_MOST = 1000  # questions of a data file
_HEAD = ("precision", "engine", "threads", "batch", "questions/s", "x default", "p50 ms", "p99 ms", "note")
_TEXTS = (0, 1, 8)


@click.command(cls=BundleCommand)
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
@verbose_option("Show all settings that were tried or left out, not only the best few.")
@quiet_option
def tune(
    *,
    bundle: Path | None,
    data: Path | None,
    p99_ms: float | None,
    min_f1_percent: float,
    forget: bool,
    verbose: bool,
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
        click.echo("forgotten: the default is used again" if forgotten else "there was nothing to forget")
        return
    with _cache_folder():  # fail now, not after minutes of work
        profile_path(loaded).parent.mkdir(parents=True, exist_ok=True)
    questions = load_questions(data)
    # The file may be sorted by length, and maybe only the first questions are asked: shuffle them.
    golds = random.Random(0).sample(questions.golds, min(_MOST, len(questions.golds)))
    plan = work.TunePlan(golds=golds, data=questions.name, p99_ms=p99_ms, min_f1_percent=min_f1_percent)
    rows: list[Row] = []
    with Live(console=tables.console(stderr=True), auto_refresh=False, transient=True) as live:

        def show(state: Sequence[Row]) -> None:
            rows[:] = state
            live.update(tables.grid(_HEAD, map(_cells, _ordered(rows)), texts=_TEXTS), refresh=True)

        profile = work.tune(loaded, plan, show=show)
    with _cache_folder():
        path = save_profile(loaded, profile)
    tables.say(f"fastest here: {profile}")
    _show(rows, verbose=verbose, has_default=profile.gain is not None)
    note(f"kept in {path}, and used from now on where you choose no setting; qa-onnx tune --forget removes it")


def _cache_folder() -> AbstractContextManager[None]:
    """Return a context that reports an error of the operating system as one of the cache folder."""
    return os_errors(InputError, "the cache folder cannot be used")


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """Return the settings of the final first, then the others, each part by speed."""
    return sorted(rows, key=lambda row: (row.gain is None, -row.rate))


def _cells(row: Row) -> tuple[str, ...]:
    setting = row.setting
    figures = (row.rate or None, ",.1f"), (row.gain, ".2f"), (row.p50_ms, ",.1f"), (row.p99_ms, ",.1f")
    batch = f"{setting.batch_tokens:,}" if setting.batch_tokens > 1 else "1 window"
    names = (setting.precision, f"{setting.engine}/{setting.device}", str(setting.threads), batch)
    return *names, *("-" if value is None else format(value, form) for value, form in figures), row.note


def _show(rows: Sequence[Row], *, verbose: bool, has_default: bool) -> None:
    """Print the settings of the final; with `verbose` those that were tried before, and why others were not."""
    final = [row for row in _ordered(rows) if row.gain is not None]
    slower = [row for row in _ordered(rows) if row.gain is None and row.rate]
    reasons = {
        f"{row.setting.precision} in {row.setting.engine}/{row.setting.device}: {row.note}": None
        for row in rows
        if not row.rate
    }
    head = _HEAD if has_default else tuple("x base" if name == "x default" else name for name in _HEAD)
    cells = [*map(_cells, final), *((*_cells(row)[:-1], "first look") for row in slower if verbose)]
    tables.show_grid(head, cells, texts=_TEXTS)
    tables.say(
        "batch: tokens at most. p50, p99: time to answer for half and for 99 % of questions asked one by one."
    )
    if slower:
        text = f"{number_of(len(slower), 'other setting was', 'other settings were')} slower in a first look"
        tables.say(f"{text}, without the figures that are missing." if verbose else f"{text}: -v shows them.")
    for reason in reasons:
        tables.say(f"{reason}.")
