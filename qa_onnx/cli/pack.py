"""`qa-onnx pack`: write a bundle as one file."""

from __future__ import annotations

from pathlib import Path

import click

from qa_onnx.bundle.packed import pack as write_packed
from qa_onnx.cli.output import check_file
from qa_onnx.cli.tables import printable


@click.command
@click.argument("bundle", metavar="BUNDLE")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), required=True, help="File to write, such as model.qab."
)
def pack(*, bundle: str, target: Path) -> None:
    """Write a bundle as one file, which -b and Reader.load take like its folder.

    BUNDLE is a folder, or org/name on the Hugging Face hub. Every file is checked while it is read. The same
    bundle gives the same bytes. An existing file is replaced.
    """
    from qa_onnx import Bundle

    check_file(target)
    loaded = Bundle.load(bundle)
    write_packed(loaded, target)
    size = target.stat().st_size / 1e6
    files = len(loaded.manifest.files()) + 1
    click.echo(
        f"{printable(str(target))}: {files} files, {size:.1f} MB; try: qa-onnx inspect -b {target} --verify"
    )
