"""`qa-onnx export`: a checkpoint -> a bundle, with what was found on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qa_onnx.cli import tables
from qa_onnx.engines.names import PRECISIONS
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from qa_onnx import Bundle


@click.command(short_help="Make a bundle of a checkpoint or a finished ONNX model.")
@click.argument("checkpoint")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The bundle's folder.  [default: exported/<name of the checkpoint>]",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    default=["int8"],
    type=click.Choice(PRECISIONS),
    show_default=True,
    help="Repeat it for several. The bf16 ones need a CPU with bf16 and OpenVINO, which alone runs them.",
)
@click.option("--max-length", type=click.IntRange(32), metavar="TOKENS", help="Of a window.  [default: 384]")
@click.option("--opset", type=click.IntRange(14, 18), default=17, show_default=True, help="Of the ONNX graph.")
@click.option("--no-fusion", is_flag=True, help="Standard operators alone, as TensorRT needs; slower elsewhere.")
@click.option("--require-fusion", is_flag=True, help="Fail if a layer that should be fused is not.")
@click.option("--replace", is_flag=True, help="Write over a bundle of another source.")
@click.option(
    "--eval-data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="DATA",
    help="Measure every precision on this file (SQuAD JSON or JSON lines) and write the result into the bundle.",
)
@click.option("--eval-limit", type=click.IntRange(1), help="On a random sample of so many.  [default: all]")
@click.option(
    "--gate",
    type=click.FloatRange(0, 100, min_open=True),
    default=99.0,
    show_default=True,
    metavar="PERCENT",
    help="Of fp32's F1, which a precision must reach to be written; MLPerf's two lines are 99 and 99.9. What "
    "quantization hurts most is kept back in fp32, a little more at each attempt.",
)
@click.option(
    "--calibration-data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="DATA",
    help="Held out of training. Ranges of int8-static come from it, and what --calibrate fits.",
)
@click.option(
    "--calibration-examples",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="How many of it give the ranges.",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Fit a temperature, and a null threshold if some questions have no answer, to 2,000 of it at most.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of samples and intervals.")
def export(
    *,
    checkpoint: str,
    to: Path | None,
    precisions: tuple[str, ...],
    max_length: int | None,
    opset: int,
    no_fusion: bool,
    require_fusion: bool,
    replace: bool,
    eval_data: Path | None,
    eval_limit: int | None,
    gate: float,
    calibration_data: Path | None,
    calibration_examples: int,
    calibrate: bool,
    seed: int,
) -> None:
    """Make a bundle of CHECKPOINT.

    CHECKPOINT is a folder or hub id of a BERT-family model fine-tuned for question answering (safetensors), or
    a folder with a finished model.onnx and its tokenizer.json.

    A bundle of the same source keeps the precisions that are not named. If the export fails, it stays as it was;
    of several precisions, those that reach the gate are written even if others miss it, and the exit code is 1.
    """
    if no_fusion and require_fusion:
        raise click.UsageError("--no-fusion and --require-fusion exclude each other")
    from qa_onnx.export import EvaluationSettings
    from qa_onnx.export import export as make

    try:
        evaluation = EvaluationSettings(
            eval_data=eval_data,
            eval_limit=eval_limit,
            gate=gate,
            calibration_data=calibration_data,
            calibration_examples=calibration_examples,
            calibrate=calibrate,
            seed=seed,
        )
    except InputError as error:
        raise click.UsageError(str(error)) from error
    bundle = make(
        checkpoint,
        to,
        precisions=tuple(dict.fromkeys(precisions)),
        max_length=max_length,
        opset=opset,
        fusion=not no_fusion,
        require_fusion=require_fusion,
        replace=replace,
        evaluation=evaluation,
    )
    tables.console().print(tables.precisions(bundle))
    tables.show_receipts(bundle)
    click.echo(f'try it: qa-onnx ask -b {bundle.path}{_named(bundle)} -q "..." -c FILE', err=True)


def _named(bundle: Bundle) -> str:
    """The option for the first precision, where none of the bundle runs by itself."""
    graphs = bundle.manifest.graphs
    alone = any("onnxruntime/cpu" in graph.engines for graph in graphs.values())
    return "" if alone else f" --precision {next(iter(graphs))}"
