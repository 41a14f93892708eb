"""`qa-onnx export`: a checkpoint -> a bundle, and a table of its precisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.bench import page
from qa_onnx.cli import tables
from qa_onnx.cli.notes import note, quiet_option, verbose_option
from qa_onnx.cli.options import between, data_file
from qa_onnx.engines.names import PRECISIONS
from qa_onnx.export import EvaluationSettings
from qa_onnx.export import export as export_bundle
from qa_onnx.export.settings import EXPORT_BOUNDS

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
    help="Can be repeated. Those with bf16 need a CPU with bf16, and only OpenVINO runs them.",
)
@click.option(
    "--max-length", type=between("max_length", EXPORT_BOUNDS), metavar="TOKENS", help="Per window.  [default: 384]"
)
@click.option("--opset", type=between("opset", EXPORT_BOUNDS), default=17, show_default=True, help="ONNX opset.")
@click.option("--no-fusion", is_flag=True, help="Standard operators only, as TensorRT needs; slower elsewhere.")
@click.option("--require-fusion", is_flag=True, help="Fail if a layer that should be fused is not.")
@click.option("--replace", is_flag=True, help="Replace a bundle of another source.")
@click.option(
    "--eval-data",
    type=data_file,
    metavar="DATA",
    help="Measure every precision on this data, as eval reads it, and write the result into the bundle.",
)
@click.option(
    "--eval-limit", type=between("eval_limit", EXPORT_BOUNDS), help="Measure on a random sample.  [default: all]"
)
@click.option(
    "--gate",
    type=click.FloatRange(0, 100, min_open=True),
    default=99.0,
    show_default=True,
    metavar="PERCENT",
    help="Per cent of fp32's F1 that a precision must reach to be written; MLPerf uses 99 and 99.9. Nodes that "
    "quantization hurts most stay in fp32, a few more at each attempt.",
)
@click.option(
    "--calibration-data",
    type=data_file,
    metavar="DATA",
    help="File of questions that were not used for training, for the ranges of int8-static and for --calibrate.",
)
@click.option(
    "--calibration-examples",
    type=between("calibration_examples", EXPORT_BOUNDS),
    default=256,
    show_default=True,
    help="Take the ranges from a random sample of this many of its questions.",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Fit a temperature, and a null threshold if at least 50 questions have an answer and 50 have none, to at "
    "most 2,000 questions.",
)
@click.option(
    "--seed", type=between("seed", EXPORT_BOUNDS), default=0, show_default=True, help="Of all random samples."
)
@verbose_option("Show differences from the source, fused nodes and all scores too.")
@quiet_option
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
    verbose: bool,
    **settings: Any,
) -> None:
    """Make a bundle of CHECKPOINT.

    CHECKPOINT is a folder or hub id of a BERT-family model fine-tuned for question answering (safetensors), or
    a folder with a finished model.onnx and its tokenizer.json.

    A bundle of the same source keeps its other precisions. If the export fails, the bundle stays as it was. If
    some precisions miss the gate, only the others are written, and the exit code is 1.
    """
    if no_fusion and require_fusion:
        raise click.UsageError("--no-fusion and --require-fusion exclude each other")
    if settings["calibrate"] and not (settings["calibration_data"] and settings["eval_data"]):
        raise click.UsageError("--calibrate needs --calibration-data to fit to and --eval-data to check with")
    bundle = export_bundle(
        checkpoint,
        to,
        precisions=tuple(dict.fromkeys(precisions)),
        max_length=max_length,
        opset=opset,
        fusion=not no_fusion,
        require_fusion=require_fusion,
        replace=replace,
        evaluation=EvaluationSettings(**settings),
    )
    where = tables.printable(str(bundle.path))
    tables.say(
        f"{where} holds {tables.and_list(bundle.manifest.graphs)} ({tables.megabytes(bundle)}). {_scores(bundle)}"
    )
    tables.show_precisions(bundle)
    if verbose:
        click.echo()
        tables.show_details(bundle)
    note(f'try it: qa-onnx ask -b {where}{_precision_option(bundle)} -q "..." -c FILE')


def _scores(bundle: Bundle) -> str:
    receipts = bundle.manifest.receipts
    return page.verdict(receipts) if receipts else ""


def _precision_option(bundle: Bundle) -> str:
    """Return the option for the first precision if the bundle has none that runs by default."""
    graphs = bundle.manifest.graphs
    default = any("onnxruntime/cpu" in graph.backends for graph in graphs.values())
    return "" if default else f" --precision {next(iter(graphs))}"
