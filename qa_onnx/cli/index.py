"""`qa-onnx index`: make an index of documents, or bring one up to date."""

from __future__ import annotations

import time
from pathlib import Path

import click

from qa_onnx.cli import sources
from qa_onnx.cli.tables import printable
from qa_onnx.errors import number_of


@click.command
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the index; made if it is new.",
)
def index(*, paths: tuple[str, ...], target: Path) -> None:
    """Make an index of documents, which `qa-onnx ask --index` searches, or bring one up to date.

    \b
    qa-onnx index contracts/ "mails/**/*.txt" --to contracts.index
    qa-onnx ask -q "When is the rent due?" --index contracts.index

    PATH is a file, a folder or a pattern: plain text, Markdown, HTML, PDF, Word (DOCX), CSV and TSV. Name all of
    them each time: documents that are not among them leave the index. Only new and changed ones are read. While it
    is built, the old one answers.
    """
    from qa_onnx.retrieval.build import build_index

    started = time.perf_counter()
    with sources.found_documents(paths) as documents:
        report = build_index(documents, target, on_problem=sources.unless_named(paths))
    if report.warning:
        sources.warn(report.warning)
    new = report.documents - report.copied
    left = f", {number_of(report.removed, 'document')} left the index" if report.removed else ""
    size = f"{_size(report.bytes)} written" if report.bytes else "nothing to write"
    click.echo(
        f"{printable(str(target))}: {number_of(report.passages, 'passage')} of "
        f"{number_of(report.documents, 'document')}, {new:,} of them new or changed{left}, {size}, "
        f"{time.perf_counter() - started:.1f} s"
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
