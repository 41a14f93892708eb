"""`qa-onnx bench`: measure how fast a bundle answers on this machine, beside PyTorch, and at which F1."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.bench.runners import SCENARIOS
from qa_onnx.cli import tables
from qa_onnx.cli.notes import note, quiet_option, verbose_option
from qa_onnx.cli.options import BundleCommand, bundle_option, data_option, threads_option
from qa_onnx.cli.output import make_folder, whole_file
from qa_onnx.cli.progress import steps
from qa_onnx.engines.names import DEVICES, PRECISIONS
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx.bench.results import BenchResults

_SECONDS, _SECONDS_QUICK = 180.0, 40.0
_WIDE = 160  # columns of a table with every figure, where the output is no terminal
_COLUMNS = (
    "x base: speed beside the first row, with its 95 % interval. p50: half of the questions, asked one by one, "
    "take no longer. cold start: to the first answer. peak: memory."
)
_WORDS_QUICK = 250  # longest of the built-in texts with --quick


def _names_option(option: str, names: tuple[str, ...], help_text: str) -> Callable[[Any], Any]:
    """Return an option that takes some of the names, separated by commas; its value is None for `all`."""

    def read(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...] | None:
        if value == "all":
            return None
        chosen = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
        for name in chosen:
            if name not in names:
                raise click.BadParameter(f"{name!r} is not one of {', '.join(names)}, all", ctx, param)
        return chosen

    return click.option(option, callback=read, default="all", show_default=True, metavar="NAMES", help=help_text)


@click.command(cls=BundleCommand)
@bundle_option
@click.option(
    "--against", metavar="CHECKPOINT", help="Compare with this checkpoint in PyTorch; needs qa-onnx[export]."
)
@data_option
@_names_option("--precisions", tuple(PRECISIONS), "Precisions of the bundle, separated by commas.")
@_names_option(
    "--scenarios",
    SCENARIOS,
    f"Some of {', '.join(SCENARIOS)}, separated by commas; offline is always measured, for the ratio.",
)
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True)
@threads_option
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    metavar="S",
    help=f"Approximate duration.  [default: {_SECONDS:.0f}, with --quick {_SECONDS_QUICK:.0f}]",
)
@click.option(
    "--p99-ms",
    type=click.FloatRange(0, min_open=True),
    metavar="MS",
    help="Limit of the server scenario.  [default: twice the 99th percentile of the slowest without load]",
)
@click.option("--quick", is_flag=True, help="Short texts, fewer rounds, no figures by batch, length, threads.")
@click.option("--wide", is_flag=True, help="Show every figure, in a table of more than 100 columns.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write results.json, results.csv, report.md and report.html with plots; needs qa-onnx[bench].",
)
@verbose_option("Show the machine, the data, and the command that repeats the run too.")
@quiet_option
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
    wide: bool,
    out: Path | None,
    verbose: bool,
) -> None:
    """Measure a bundle on this machine, end to end: speed, latency, accuracy, memory.

    Each contender has a process of its own. They alternate: one runs while the others are stopped. The first in
    the table is what the others are compared with: with --against PyTorch, which gets the same windows and
    batches.
    """
    from qa_onnx import Bundle
    from qa_onnx.bench.compare import compare, cpus_for
    from qa_onnx.bench.contenders import list_contenders
    from qa_onnx.bench.questions import load_questions
    from qa_onnx.bench.runners import Plan
    from qa_onnx.machine import cpu

    if out is not None:
        require("bench")
        make_folder(out / "plots")
    if against is not None:
        against = str(_checkpoint(against))
    loaded = Bundle.load(bundle)
    questions = load_questions(data, most_words=_WORDS_QUICK if quick else None)
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
    contenders = list_contenders(loaded, precisions=precisions, against=against, device=device)
    title = f"{loaded.manifest.source.name} on {questions.name}"
    command = shlex.join(["qa-onnx", *sys.argv[1:]])
    with steps() as show:
        run = compare(contenders, questions, plan, title=title, command=command, show=show)
    _show(run, wide=wide, verbose=verbose)
    if out is not None:
        _write(run, out)
    needed = {one.name for one in contenders if not one.why_not} if against else set()
    for outcome in run.outcomes:
        if outcome.error and outcome.name in needed:
            raise click.ClickException(f"{outcome.name} did not run: {outcome.error}")


def _checkpoint(name: str) -> Path:
    """Return the folder of a checkpoint that can be loaded; it is downloaded if it is on the hub."""
    require("export", onnxruntime=True)
    from qa_onnx.export.opened import open_checkpoint

    return open_checkpoint(name).folder


def _show(run: BenchResults, *, wide: bool, verbose: bool) -> None:
    """Print the result in a sentence, then the figures, then what must be known with them; --out writes all."""
    from qa_onnx.bench.report import SHORT, about, remarks, setup, table, verdict

    tables.say(verdict(run))
    figures = table(run, columns=None if wide else SHORT)
    if wide:
        tables.console(width=_WIDE).print(tables.grid(figures.head, figures.rows))
    else:
        tables.show_grid(figures.head, figures.rows)
    tables.say(_COLUMNS)
    details = [*about(run), f"again: {run.command}"] if verbose else [setup(run)]
    for line in [*remarks(run), *details]:
        tables.say(line)


def _write(run: BenchResults, folder: Path) -> None:
    from qa_onnx.bench.report import files

    for name, content in files([run]).items():
        with whole_file(folder / name) as file:
            file.write(content)
    note(f"wrote {folder / 'report.html'}, and its text, figures and plots beside it")
