"""`qa-onnx export`: a checkpoint -> a bundle, with what was found on the way."""

from __future__ import annotations

from pathlib import Path

import click

from qa_onnx.cli import tables


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
    type=click.Choice(["fp32", "int8"]),
    show_default=True,
    help="Give it twice for both.",
)
@click.option("--max-length", type=click.IntRange(32), metavar="TOKENS", help="Of a window.  [default: 384]")
@click.option("--opset", type=click.IntRange(14, 18), default=17, show_default=True, help="Of the ONNX graph.")
@click.option("--require-fusion", is_flag=True, help="Fail if a layer that should be fused is not.")
@click.option("--replace", is_flag=True, help="Write over a bundle of another source.")
def export(
    *,
    checkpoint: str,
    to: Path | None,
    precisions: tuple[str, ...],
    max_length: int | None,
    opset: int,
    require_fusion: bool,
    replace: bool,
) -> None:
    """Make a bundle of CHECKPOINT.

    CHECKPOINT is a folder or hub id of a BERT-family model fine-tuned for question answering (safetensors), or
    a folder with a finished model.onnx and its tokenizer.json.

    A bundle of the same source keeps the precisions that are not named. If anything fails, it stays as it was.
    """
    from qa_onnx.export import export as make

    bundle = make(
        checkpoint,
        to,
        precisions=tuple(dict.fromkeys(precisions)),
        max_length=max_length,
        opset=opset,
        require_fusion=require_fusion,
        replace=replace,
    )
    tables.console().print(tables.precisions(bundle))
    click.echo(f'try it: qa-onnx ask -b {bundle.path} -q "..." -c FILE', err=True)
