"""`qa-onnx report`: show the receipts of a bundle, as a table or as a page with plots."""

from __future__ import annotations

from pathlib import Path

import click

from qa_onnx.bench import page
from qa_onnx.cli import tables
from qa_onnx.cli.options import bundle_option
from qa_onnx.cli.output import check_file, whole_file


@click.command
@bundle_option
@click.option(
    "--html",
    "html_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page with plots to this file; needs qa-onnx[bench].",
)
def report(*, bundle: Path | None, html_path: Path | None) -> None:
    """Show the receipts of a bundle: accuracy and excluded nodes of each precision, calibration."""
    from qa_onnx import Bundle

    loaded = Bundle.load(bundle)
    if html_path is None:
        page.receipts_of(loaded)
        tables.show_receipts(loaded)
        return
    check_file(html_path)
    content = page.page(loaded)
    with whole_file(html_path) as file:
        file.write(content)
    click.echo(f"wrote {html_path}", err=True)
