"""`qa-onnx bench`: how fast a bundle answers on this machine, beside PyTorch, at which F1."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.bench.plan import SCENARIOS
from qa_onnx.cli import tables
from qa_onnx.cli.options import between, bundle_option
from qa_onnx.cli.output import check_folder, whole_file
from qa_onnx.engines.names import PRECISIONS
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qa_onnx.bench.results import BenchResults
    from qa_onnx.data.squad import DataSet

_SECONDS, _SECONDS_QUICK = 180.0, 40.0
_WORDS_QUICK = 250  # of the texts that come with qa-onnx


def _names(known: tuple[str, ...]) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...] | None]:
    """Reads names separated by commas; None for `all`."""

    def read(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...] | None:
        if value == "all":
            return None
        names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
        for name in names:
            if name not in known:
                raise click.BadParameter(f"{name!r} is none of {', '.join(known)}, all", ctx, param)
        return names

    return read


@click.command(short_help="Measure speed and F1 on this machine, beside PyTorch.")
@bundle_option
@click.option(
    "--against", metavar="CHECKPOINT", help="Compare with this checkpoint in PyTorch; needs qa-onnx[export]."
)
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Questions like yours: SQuAD JSON or JSON lines.  [default: questions that come with qa-onnx]",
)
@click.option(
    "--precisions",
    callback=_names(PRECISIONS),
    default="all",
    show_default=True,
    metavar="NAMES",
    help="Of the bundle, by commas.",
)
@click.option(
    "--scenarios",
    callback=_names(SCENARIOS),
    default="all",
    show_default=True,
    metavar="NAMES",
    help=f"Some of {', '.join(SCENARIOS)}, by commas; offline is always measured, for the ratio.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=between("threads"), help="Of each contender.  [default: all cores]")
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    metavar="S",
    help=f"How long it may take, about.  [default: {_SECONDS:.0f}, quick {_SECONDS_QUICK:.0f}]",
)
@click.option(
    "--p99-ms",
    type=click.FloatRange(0, min_open=True),
    metavar="MS",
    help="Limit of the server scenario.  [default: twice what the slowest needs for a question alone]",
)
@click.option("--quick", is_flag=True, help="Short texts, fewer rounds, no figures by batch, length, threads.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write results.json, results.csv, report.md and report.html with plots there; needs qa-onnx[bench].",
)
def bench(
    *,
    bundle: Path | None,
    against: str | None,
    data: Path | None,
    precisions: tuple[str, ...] | None,
    scenarios: tuple[str, ...] | None,
    device: Any,
    threads: int | None,
    seconds: float | None,
    p99_ms: float | None,
    quick: bool,
    out: Path | None,
) -> None:
    """Measure a bundle on this machine: speed, latency, accuracy, memory; text to answer.

    Every contender has a process of its own and they take turns, one running while the others are stopped. The
    first in the table is what the others are compared with: with --against PyTorch, which is given the same
    windows and batches.
    """
    from qa_onnx import Bundle
    from qa_onnx.bench.compare import compare, cpus_for
    from qa_onnx.bench.entrants import entrants
    from qa_onnx.bench.plan import Plan
    from qa_onnx.bench.questions import load_questions
    from qa_onnx.data import squad
    from qa_onnx.machine import cpu

    if out is not None:
        require("bench")
        check_folder(out)
    if against is not None:
        require("export", runtime=True)
        against = str(_checkpoint(against))
    loaded = Bundle.load(bundle)
    if data is None:
        questions: DataSet = load_questions(most_words=_WORDS_QUICK if quick else None)
    else:
        questions = squad.load(data)
    threads = cpu.default_threads() if threads is None else threads
    plan = Plan(
        golds=questions.golds,
        scenarios=scenarios or SCENARIOS,
        threads=threads,
        cpus=cpus_for(threads),
        seconds=seconds or (_SECONDS_QUICK if quick else _SECONDS),
        quick=quick,
        p99_ms=p99_ms,
    )
    contenders = entrants(loaded, precisions=precisions, against=against, device=device)
    needed = {one.name for one in contenders if not one.why_not} if against else set()
    with _progress() as show:
        run = compare(
            contenders,
            questions,
            plan,
            title=f"{loaded.manifest.source.name} on {questions.name}",
            command=shlex.join(["qa-onnx", *sys.argv[1:]]),
            show=show,
        )
    _show(run)
    if out is not None:
        _write(run, out)
    failed = [outcome for outcome in run.outcomes if outcome.name in needed and outcome.error]
    if failed:
        raise click.ClickException(f"{failed[0].name} did not run: {failed[0].error}")


def _checkpoint(name: str) -> Path:
    """The folder of a checkpoint that can be loaded, fetched where the hub has it."""
    from qa_onnx.export.checkpoint import find_checkpoint, refuse_unsafe

    folder, _ = find_checkpoint(name)
    refuse_unsafe(folder)
    return folder


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """What is measured now, and how long it will take; on a terminal only."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = tables.console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=share)


def _show(run: BenchResults) -> None:
    """The figures that matter most; the files have the others."""
    from qa_onnx.bench.report import HEAD, about, remarks, rows

    columns = ("contender", "EM", "F1", "same answers", "questions/s", "x base", "95 %", "model alone", "p50 ms",
               "p99 ms", "server q/s", "cold start s", "peak MB", "model MB", "install MB")  # fmt: skip
    found = [dict(zip(HEAD, row, strict=True)) for row in rows(run)]
    filled = [name for name in columns if any(cells[name] for cells in found)]
    table = tables.plain(*filled, left=("contender",))
    for cells in found:
        table.add_row(*(cells[name] for name in filled))
    console = tables.console()
    console.print(table)
    for line in [*remarks(run), *about(run)]:
        console.print(line)
    console.print(f"again: {run.command}")


def _write(run: BenchResults, folder: Path) -> None:
    from qa_onnx.bench.report import files

    for name, content in files([run]).items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"cannot make {path.parent}: {error.strerror}") from error
        with whole_file(path) as file:
            file.write(content)
    click.echo(f"wrote {folder / 'report.html'} and what it is made of", err=True)
