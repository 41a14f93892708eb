"""`qa-onnx train`: a checkpoint + questions with answers -> a fine-tuned checkpoint."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, Progress, TextColumn

from qa_onnx.cli import tables
from qa_onnx.cli.notes import note, quiet_option
from qa_onnx.cli.options import DataPath, between, data_file
from qa_onnx.errors import number_of
from qa_onnx.machine.packages import require
from qa_onnx.train.settings import TRAIN_BOUNDS, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qa_onnx.train.callback import Status

_LINE_EVERY_S = 60.0  # without a terminal
_DEFAULTS = TrainSettings()


def _setting(name: str, help_text: str, *, metavar: str | None = None, default: str = "") -> Callable[[Any], Any]:
    """Return the option of a field of TrainSettings; a text `default` is only shown."""
    return click.option(
        "--" + name.removesuffix("_s").replace("_", "-"),
        name,
        type=between(name, TRAIN_BOUNDS),
        default=None if default else getattr(_DEFAULTS, name),
        show_default=default or getattr(_DEFAULTS, name) is not None,
        metavar=metavar,
        help=help_text,
    )


@click.command(short_help="Fine-tune an encoder or checkpoint on questions with their answers.")
@click.argument("base")
@click.argument("data", nargs=-1, required=True, type=DataPath(exists=True, path_type=Path))
@click.option(
    "--to",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the trained checkpoint; during the run its state is in DIR.partial.",
)
@click.option(
    "--eval-data",
    type=data_file,
    metavar="FILE",
    help="Choose the best weights on this file.  [default: on questions held out of DATA]",
)
@_setting("eval_limit", "Questions of an evaluation; 0: no evaluation, keep the last weights.", metavar="N")
@_setting("evaluations", "Number of evaluations, evenly spaced over the run.", metavar="N")
@_setting("patience", "Stop after N evaluations without a better F1.", metavar="N")
@_setting("epochs", "Passes over the data.", default=f"{_DEFAULTS.epochs:g}")
@_setting("minutes", "Train for so long instead; the learning rate schedule is fitted to it.")
@_setting("learning_rate", "At its peak.", default="2e-5; for an encoder 1e-4 if small, else 3e-5")
@_setting("batch_size", "Examples of a step.", metavar="N")
@_setting("batch_tokens", "Of a part of a step.", metavar="TOKENS", default="768 on a CPU, 32768 on a GPU")
@_setting("max_length", "Of a window.", metavar="TOKENS")
@_setting("doc_stride", "Overlap of two windows.", metavar="TOKENS", default="128, less if windows are short")
@click.option(
    "--teacher",
    metavar="MODEL",
    help="Folder or hub id of a larger question answering model of the same vocabulary, to learn from too.",
)
@_setting(
    "teacher_share",
    "Share of the loss that compares with it.",
    metavar="SHARE",
    default=str(_DEFAULTS.teacher_share),
)
@_setting(
    "negatives",
    "Share of the questions that is asked again of a paragraph without their answer, to learn 'no answer'.",
    metavar="SHARE",
)
@_setting("dropout", "Of hidden states; attention has none.")
@_setting("seed", "Of the order, the negatives, the held-out questions, and a new head.")
@click.option(
    "--bf16/--no-bf16",
    default=None,
    help="Compute matrix products in bfloat16.  [default: if the CPU or GPU has instructions for it]",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default=_DEFAULTS.device, show_default=True)
@click.option("--threads", type=between("threads"), help="On the CPU.  [default: all cores]")
@_setting("save_every_s", "Time between two saves of the run's state.", metavar="SECONDS")
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.jsonl",
    help="Write step, loss, F1 and more as a line of JSON after each step, to follow the run.",
)
@click.option("--resume", is_flag=True, help="Continue the unfinished run of DIR, if there is one.")
@click.option("--replace", is_flag=True, help="Remove a finished model in DIR, or its unfinished run.")
@click.option("--data-licence", "licence", metavar="TEXT", help="Licence of the weights, for the model card.")
@quiet_option
def train(*, to: Path, threads: int | None, log: Path | None, **arguments: Any) -> None:
    """Fine-tune BASE on DATA.

    BASE is a folder or hub id of a BERT-family encoder, or of a question answering model (safetensors). DATA is
    one or more data files as `qa-onnx eval` takes them, folders of such files, or data sets on the hub,
    OWNER/NAME:SPLIT. The result is a Hugging Face checkpoint for `qa-onnx export`.

    A run that was stopped or killed continues exactly with the same command and --resume.
    """
    settings = {name: arguments.pop(name) for name in TrainSettings.__slots__ if name in arguments}
    if settings["epochs"] is not None and settings["minutes"] is not None:
        raise click.UsageError("--epochs and --minutes exclude each other")
    if arguments["teacher"] is None and settings["teacher_share"] is not None:
        raise click.UsageError("--teacher-share requires --teacher")
    require("train")
    import torch

    from qa_onnx import train as library
    from qa_onnx.machine.cpu import default_threads

    chosen = TrainSettings(**{name: value for name, value in settings.items() if value is not None})
    torch.set_num_threads(default_threads() if threads is None else threads)
    try:
        with _callback(log, resume=arguments["resume"]) as callback:
            record = library.train(to=to, settings=chosen, callback=callback, **arguments)
    except KeyboardInterrupt:
        click.echo("stopped; the same command with --resume continues from the last save", err=True)
        sys.exit(130)
    for line in _summary(record):
        tables.say(line)
    note(f"next: qa-onnx export {to}")


def _summary(record: dict[str, Any]) -> list[str]:
    """Return the result in a sentence, then what it was trained on and for how long."""
    run, result, counts = record["run"], record["result"], record["questions"]["counts"]
    name, without = record["name"], counts.get("unanswerable", 0)
    total = number_of(run["steps"], "step")
    scores = f"{name} is trained, and was not evaluated: it is the model after the last of {total}"
    if result is not None:
        questions = f"{number_of(result['n'], 'question')} ({record['held_out']['name']})"
        best = f"the best of {number_of(len(record['evaluations']), 'evaluation')}"
        model = f"the model after step {result['steps']:,} of {run['steps']:,}, {best}"
        scores = f"{name} has F1 {result['f1']:.2f} and EM {result['em']:.2f} on {questions}: it is {model}"
    data = f"{number_of(counts['answerable'] + without, 'question')}, {without:,} without an answer"
    steps = f"{total}, {run['epochs']:.2f} epochs, in {_duration(run['minutes'])}"
    return [scores, f"trained on {data}; {steps}"]


def _duration(minutes: float) -> str:
    if minutes < 2:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


@contextmanager
def _callback(log: Path | None, *, resume: bool) -> Iterator[Callable[[Status], None]]:
    """Yield what is called after each step: it shows the progress, and writes the log if there is one."""
    from qa_onnx.train import JsonLinesLog

    with ExitStack() as stack:
        calls = [stack.enter_context(_progress())]
        if log is not None:
            calls.append(stack.enter_context(closing(JsonLinesLog(log, resume=resume))))

        def callback(status: Status) -> None:
            for call in calls:
                call(status)

        yield callback


@contextmanager
def _progress() -> Iterator[Callable[[Status], None]]:
    """Show a bar with loss, speed and remaining time; without a terminal, a line a minute."""
    console = tables.console(stderr=True)
    last_line, f1 = -_LINE_EVERY_S, ""
    with Progress(
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=1.0)

        def show(status: Status) -> None:
            nonlocal last_line, f1
            f1 = f1 if status.f1 is None else f", F1 {status.f1:.2f}"
            to_go = "?" if status.to_go_s is None else timedelta(seconds=round(status.to_go_s))
            line = (
                f"epoch {status.epoch:.2f}, step {status.step:,}, loss {status.mean_loss:.3f}{f1}, "
                f"{status.examples_per_second:.1f} examples/s, {to_go} to go"
            )
            bar.update(task, completed=status.progress, description=line)
            if not console.is_terminal and time.monotonic() - last_line >= _LINE_EVERY_S:
                last_line = time.monotonic()
                note(f"{status.progress:4.0%}  {line}")

        yield show
