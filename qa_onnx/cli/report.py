"""`qa-onnx report`: show the receipts of a bundle, as a table or as a page with plots."""

from __future__ import annotations

from pathlib import Path

import click

from qa_onnx.bench import page
from qa_onnx.cli import tables
from qa_onnx.cli.notes import note, quiet_option, verbose_option
from qa_onnx.cli.options import BundleCommand, bundle_option
from qa_onnx.cli.output import check_file, whole_file


@click.command(cls=BundleCommand)
@bundle_option
@click.option(
    "--html",
    "html_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page with plots to this file; needs qa-onnx[bench].",
)
@verbose_option("Show scores of the source model, engine, CPU, and the nodes that stay in fp32 too.")
@quiet_option
def report(*, bundle: Path | None, html_path: Path | None, verbose: bool) -> None:
    """Show how well a bundle answers, as it was measured when it was exported."""
    from qa_onnx import Bundle

    loaded = Bundle.load(bundle)
    if html_path is None:
        receipts = page.receipts_of(loaded)
        tables.say(f"{loaded.manifest.source.name}: {page.verdict(receipts)}")
        tables.show_receipts(receipts, verbose=verbose)
        return
    check_file(html_path)
    content = page.page(loaded)
    with whole_file(html_path) as file:
        file.write(content)
    note(f"wrote {html_path}")
