"""`qa-onnx train`: a checkpoint + questions with their answers -> a better checkpoint."""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, Progress, TextColumn

from qa_onnx.cli import tables
from qa_onnx.cli.options import between
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qa_onnx.train.loop import Status

_LINE_EVERY_S = 60.0  # where there is no terminal to draw on


@click.command(short_help="Fine-tune an encoder or checkpoint on questions with their answers.")
@click.argument("base")
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--to",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the trained checkpoint goes; while it is trained, its state is in DIR.partial.",
)
@click.option(
    "--eval-data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Choose the best weights on this file.  [default: on questions held out of DATA]",
)
@click.option(
    "--eval-limit",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    metavar="N",
    help="Questions that an evaluation asks; 0: no evaluation, the last weights are taken.",
)
@click.option(
    "--evaluations", type=click.IntRange(1), default=8, show_default=True, help="How many, evenly over the run."
)
@click.option(
    "--patience", type=click.IntRange(1), metavar="N", help="Stop after N evaluations without a better F1."
)
@click.option("--epochs", type=float, help="Passes over the data.  [default: 2]")
@click.option(
    "--minutes", type=float, help="Train for so long instead; the schedule of the learning rate is fitted to it."
)
@click.option("--learning-rate", type=float, help="[default: 1e-4 for hidden sizes below 512, else 3e-5]")
@click.option("--batch-size", type=int, default=32, show_default=True, metavar="N", help="Examples of a step.")
@click.option(
    "--batch-tokens",
    type=int,
    metavar="TOKENS",
    help="A step is computed in parts of so many at most.  [default: 768 on a CPU, 32768 on a GPU]",
)
@click.option("--max-length", type=int, default=384, show_default=True, metavar="TOKENS", help="Of a window.")
@click.option(
    "--doc-stride",
    type=int,
    metavar="TOKENS",
    help="Overlap of two windows.  [default: 128, less where windows are short]",
)
@click.option(
    "--teacher",
    metavar="MODEL",
    help="Folder or hub id of a larger model that answers questions, of the same vocabulary, to learn from too.",
)
@click.option(
    "--teacher-share",
    type=float,
    metavar="SHARE",
    help="Of the loss, that is the teacher's.  [default: 0.9]",
)
@click.option(
    "--negatives",
    type=float,
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Of the questions that are asked once more, of another paragraph of their article, to learn 'no answer'.",
)
@click.option(
    "--dropout", type=float, default=0.0, show_default=True, help="Of hidden states; never of attention."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--bf16/--no-bf16",
    default=None,
    help="Compute products in bfloat16.  [default: where the CPU or GPU has instructions for it]",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=between("threads"), help="On the CPU.  [default: all cores]")
@click.option(
    "--save-every",
    type=float,
    default=180.0,
    show_default=True,
    metavar="SECONDS",
    help="How often the state of the run is saved.",
)
@click.option("--resume", is_flag=True, help="Go on with the unfinished run of DIR, if there is one.")
@click.option("--replace", is_flag=True, help="Throw away a finished model in DIR, or its unfinished run.")
@click.option("--data-licence", metavar="TEXT", help="What the model card says of the licence.")
def train(
    *,
    base: str,
    data: tuple[Path, ...],
    to: Path,
    teacher: str | None,
    eval_data: Path | None,
    epochs: float | None,
    minutes: float | None,
    threads: int | None,
    save_every: float,
    resume: bool,
    replace: bool,
    data_licence: str | None,
    **knobs: Any,
) -> None:
    """Fine-tune BASE on DATA.

    BASE is a folder or hub id of a BERT-family encoder, or of a model that answers questions already
    (safetensors). DATA is SQuAD v1.1 or v2.0 JSON, or JSON lines of {"question", "context", "answers"}, plain or
    gzip, or folders of such files. The result is a Hugging Face checkpoint for `qa-onnx export`.

    A run that was stopped or killed goes on, exactly, with the same command and --resume.
    """
    if epochs is not None and minutes is not None:
        raise click.UsageError("--epochs and --minutes exclude each other")
    if teacher is None and knobs["teacher_share"] is not None:
        raise click.UsageError("--teacher-share is that of a --teacher, and none is named")
    if knobs["teacher_share"] is None:
        del knobs["teacher_share"]
    from qa_onnx.machine.packages import require

    require("train")
    import torch

    from qa_onnx.machine.cpu import default_threads
    from qa_onnx.train import TrainSettings
    from qa_onnx.train import train as work
    from qa_onnx.train.run import LICENCE

    try:
        settings = TrainSettings(
            epochs=2.0 if epochs is None else epochs, minutes=minutes, save_every_s=save_every, **knobs
        )
    except InputError as error:
        raise click.UsageError(str(error)) from error
    torch.set_num_threads(default_threads() if threads is None else threads)
    try:
        with _progress() as tell:
            record = work(
                base,
                data,
                to,
                teacher=teacher,
                settings=settings,
                eval_data=eval_data,
                resume=resume,
                replace=replace,
                licence=LICENCE if data_licence is None else data_licence,
                tell=tell,
            )
    except KeyboardInterrupt:
        click.echo("stopped; the same command with --resume goes on from the last save", err=True)
        sys.exit(130)
    click.echo(_said(record))
    click.echo(f"next: qa-onnx export {to}", err=True)


def _said(record: dict[str, Any]) -> str:
    run, result = record["run"], record["result"]
    said = f"{record['name']}: {run['steps']:,} steps, {run['epochs']:.2f} epochs in {run['minutes']:.1f} minutes"
    if result is None:
        return said
    return (
        f"{said}; EM {result['em']:.2f}, F1 {result['f1']:.2f} on {result['n']:,} questions "
        f"({record['held_out']['name']})"
    )


@contextmanager
def _progress() -> Iterator[Callable[[Status], None]]:
    """A bar with loss, rate and time to go; where there is no terminal, a line a minute."""
    console = tables.console(stderr=True)
    shown = -_LINE_EVERY_S
    with Progress(
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=1.0)

        def tell(status: Status) -> None:
            nonlocal shown
            bar.update(task, completed=status.progress, description=_line(status))
            if not console.is_terminal and time.monotonic() - shown >= _LINE_EVERY_S:
                shown = time.monotonic()
                click.echo(f"{status.progress:4.0%}  {_line(status)}", err=True)

        yield tell


def _line(status: Status) -> str:
    f1 = "" if status.f1 is None else f", F1 {status.f1:.2f}"
    return (
        f"epoch {status.epoch:.2f}, step {status.steps:,}, loss {status.loss:.3f}{f1}, "
        f"{status.examples_per_second:.1f} examples/s, {_duration(status.to_go_s)} to go"
    )


def _duration(seconds: float) -> str:
    if math.isnan(seconds):  # there is no rate yet
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
