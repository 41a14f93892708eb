"""`qa-onnx map`: rows of many files -> the same rows with answers, in parts, on all cores or on a cluster."""

from __future__ import annotations

import re
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.cli import streams
from qa_onnx.cli.notes import is_quiet, quiet_option
from qa_onnx.cli.options import ReaderSettings, reader_options
from qa_onnx.cli.progress import rows as show_rows
from qa_onnx.errors import number_of, shown
from qa_onnx.machine.packages import require
from qa_onnx.options import CALL_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qa_onnx import Options, Reader
    from qa_onnx.bundle.runtime import Runtime
    from qa_onnx.mapping.job import Engine, MapJob, MapTotals

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
# `--engine` says who shares the work out here, and `--threads-per-worker` what `--threads` would.
_without_some = partial(reader_options, without=("engine", "threads", "allow_fallback", "min_probability"))


@click.command
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("--to", "output", metavar="OUTPUT", required=True, help="Folder or URL for the parts; a new one.")
@click.option(
    "--engine",
    "engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who runs the workers: this machine, or the nodes of a Ray cluster, which must all see INPUT and "
    "OUTPUT under the same names: a shared folder, or URLs.",
)
@click.option(
    "--address",
    metavar="auto|URL",
    help="Ray cluster; auto: one that runs on this machine.  [default: RAY_ADDRESS, else a new one here]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 10_000),
    help="Readers at work.  [default: cores / threads; with --device cuda 1, on Ray one for each GPU]",
)
@click.option(
    "--threads-per-worker",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Threads of each one; few long texts at a time want more, many short ones 1.",
)
@click.option(
    "--question-column", metavar="NAME", default="question", show_default=True, help="Has the questions."
)
@click.option("--context-column", metavar="NAME", default="context", show_default=True, help="Has the texts.")
@click.option("--id-column", metavar="NAME", help="Names rows in messages.  [default: their files and lines do]")
@click.option(
    "--question",
    "questions",
    metavar="TEXT",
    multiple=True,
    help="Question that is asked of each row's text, instead of a column; NAME=TEXT names its columns, else they "
    "are q1_..., q2_... Repeat it for more.",
)
@click.option("--resume", is_flag=True, help="Go on with the parts that an earlier run has written to OUTPUT.")
@quiet_option
@_without_some
def map_rows(
    *,
    settings: ReaderSettings,
    inputs: tuple[str, ...],
    output: str,
    engine: str,
    address: str | None,
    workers: int | None,
    threads_per_worker: int,
    question_column: str,
    context_column: str,
    id_column: str | None,
    questions: tuple[str, ...],
    resume: bool,
) -> None:
    """Answer the rows of many files.

    \b
    qa-onnx map pages.parquet --to answers
    qa-onnx map 'logs/*.jsonl.gz' --to s3://bucket/answers --question who="Who called?"

    INPUT is Parquet, JSON lines, CSV or TSV, the last three also .gz or .zst: files, folders, patterns, or URLs
    such as s3://bucket/rows. OUTPUT gets part-00000 and so on, in the form of the input, with the rows in their
    order and columns of answers. A row that cannot be answered has the reason in answer_error, and stops nothing.

    A run that was killed goes on with --resume; what is written stays.
    """
    from qa_onnx.mapping import Asked

    if address is not None and engine != "ray":
        raise click.UsageError("--address is for --engine ray")
    asked = Asked(
        context_column, question_column, _named(questions), 1 if settings.n_best is None else settings.n_best
    )
    job = _planned(
        settings, inputs, output, asked=asked, threads=threads_per_worker, id_column=id_column, resume=resume
    )
    try:
        totals = _run(job, engine, address, workers, threads_per_worker)
    except KeyboardInterrupt:
        click.echo(f"stopped: what is written stays in {shown(output)}; go on with --resume", err=True)
        raise click.exceptions.Exit(streams.INTERRUPTED) from None
    click.echo(_summary(totals, output), err=True)


def _named(questions: tuple[str, ...]) -> dict[str, str]:
    """Return the names of the questions and their texts."""
    named: dict[str, str] = {}
    for number, text in enumerate(questions, 1):
        match = _NAMED.fullmatch(text)
        name, question = match.groups() if match else (f"q{number}", text)
        if not question.strip():
            raise click.UsageError(f"the question {shown(name)} is empty")
        if name in named:
            raise click.UsageError(f"two questions have the name {shown(name)}: give each its own NAME=TEXT")
        named[name] = question
    return named


def _load(runtime: Runtime, settings: ReaderSettings, bundle: Path) -> tuple[Reader, Options]:
    from qa_onnx import Bundle, Reader

    reader = Reader.from_runtime(Bundle.load(bundle), runtime)
    return reader, settings.change(reader.options)


def _planned(
    settings: ReaderSettings,
    inputs: tuple[str, ...],
    output: str,
    *,
    asked: Any,
    threads: int,
    id_column: str | None,
    resume: bool,
) -> MapJob:
    """Return the job. Precision and engine are chosen here, once, so that all workers have the same."""
    from qa_onnx import Bundle
    from qa_onnx.bundle.runtime import resolve_runtime
    from qa_onnx.mapping.job import plan_job

    bundle = Bundle.load(settings.bundle, require_signature=settings.require_signature)
    device: Any = settings.device
    runtime = resolve_runtime(bundle, precision=settings.precision, device=device, threads=threads)
    load: Callable[[Path], tuple[Reader, Options]] = partial(_load, runtime, settings)
    # `n_best` is a part of `asked`, and there is no --min-probability.
    named = {name: getattr(settings, name) for name in CALL_OPTIONS if name not in {"n_best", "min_probability"}}
    return plan_job(
        inputs,
        output,
        asked=asked,
        bundle=bundle.path.absolute(),
        load=load,
        settings={"precision": runtime.precision, "backend": str(runtime.backend), **named},
        id_column=id_column,
        resume=resume,
    )


def _run(job: MapJob, engine: str, address: str | None, workers: int | None, threads: int) -> MapTotals:
    states = job.run(_engine(job, engine, address, workers, threads))
    totals = next(states)
    if is_quiet():
        return deque(states, maxlen=1).pop()
    with show_rows(totals.total, totals.before) as show:
        for totals in states:
            show(totals.before + totals.rows, totals.failed, totals.tokens)
    return totals


def _engine(job: MapJob, engine: str, address: str | None, workers: int | None, threads: int) -> Engine:
    from qa_onnx.machine.cpu import default_threads
    from qa_onnx.mapping.local import run_local

    on_gpu = job.plan.settings["backend"].endswith("cuda")
    if engine == "ray":
        require("ray")
        from qa_onnx.mapping.on_ray import run_ray

        return partial(run_ray, workers=workers, threads=threads, on_gpu=on_gpu, address=address)
    usual = 1 if on_gpu else max(1, default_threads() // threads)
    count = min(usual if workers is None else workers, len(job.plan))
    return partial(run_local, workers=count)


def _summary(totals: MapTotals, output: str) -> str:
    """Return what was done, in a line or two."""
    seconds = max(totals.seconds, 1e-9)
    speed = f"{totals.rows / seconds:,.1f} rows/s, {totals.tokens / seconds:,.0f} tokens/s"
    rows = number_of(totals.rows, "row")
    lines = f"{rows} in {totals.seconds:.1f} s ({speed}), written to {shown(output)}"
    if totals.before:
        lines += f"; {number_of(totals.before, 'row was', 'rows were')} there before"
    if totals.failed:
        lines += f"\n{totals.failed:,} of {rows} could not be answered, such as {totals.first_failure}"
    return lines
