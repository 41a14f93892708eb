"""Sentences, facts and tables that commands print, at most 100 columns wide where the output is no terminal."""

from __future__ import annotations

import re
import sys
import textwrap
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qa_onnx.bench import page
from qa_onnx.cli.notes import is_quiet
from qa_onnx.errors import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qa_onnx import Bundle
    from qa_onnx.bench.document import ReportTable
    from qa_onnx.bundle.manifest import Receipt

WIDTH = 100  # columns of a file or pipe


def console(*, stderr: bool = False, width: int = WIDTH) -> Console:
    """Return a console for stdout or stderr; that for stderr prints nothing with --quiet.

    Args:
        stderr: whether it is that for stderr.
        width: columns, unless the output is a terminal.
    """
    columns = None if (sys.stderr if stderr else sys.stdout).isatty() else width
    quiet = stderr and is_quiet()
    return Console(highlight=False, markup=False, emoji=False, stderr=stderr, width=columns, quiet=quiet)


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Iterable[int] = (0,)) -> Table:
    """Return a table without borders; the columns in `texts` are aligned to the left, the others to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, name in enumerate(head):
        table.add_column(name, justify="left" if column in texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def show_grid(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Iterable[int] = (0,)) -> None:
    """Print a table as `grid` makes it, without blanks at the ends of its lines."""
    out = console()
    with out.capture() as capture:
        out.print(grid(head, rows, texts=texts))
    out.print(Text.from_ansi("\n".join(line.rstrip() for line in capture.get().splitlines())), soft_wrap=True)


def say(text: str, *, style: str = "", label: str = "", indent: int = 0) -> None:
    """Print a paragraph, broken between words only: a path and the name of a file stay whole.

    Args:
        text: of the paragraph.
        style: of rich, seen on a terminal.
        label: printed in front of it.
        indent: columns of the label, and of all lines after the first.
    """
    out = console()
    width = max(indent + 20, out.width)
    lines = textwrap.wrap(
        printable(" ".join(text.split())),
        width,
        initial_indent=f"{printable(label):{indent}}",
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    out.print(Text("\n".join(lines), style), soft_wrap=True)


def facts(rows: Iterable[tuple[str, str]], *, width: int = 0, before: str = "") -> None:
    """Print labels and texts side by side.

    Args:
        rows: label and text.
        width: columns of the labels at least.
        before: printed in front of each label.
    """
    pairs = [(before + label, text) for label, text in rows]
    indent = max([width, *(len(label) + 2 for label, _ in pairs)])
    for label, text in pairs:
        say(text, label=label, indent=indent)


def printable(text: str) -> str:
    """Return a text with escapes for what a terminal would act on, except line ends and tabs."""
    parts = re.split(r"([\n\t])", text.replace("\r\n", "\n"))
    return "".join(part if part in ("\n", "\t") else escaped(part) for part in parts)


def and_list(names: Iterable[str]) -> str:
    """Return names as a sentence has them: "int8, fp32 and bf16"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def megabytes(bundle: Bundle) -> str:
    """Return the size of all files of a bundle."""
    return f"{sum(entry.size for entry in bundle.manifest.files()) / 1e6:.1f} MB"


def show_precisions(bundle: Bundle) -> None:
    """Print what matters of each precision of a bundle: size, accuracy, agreement with its source, engines."""
    _show(page.precision_table(bundle.manifest, ("precision", "MB", "F1", "of fp32", "same span", "engines")))
    notes = ["same span: share of windows with the same best span as the source model"]
    if not bundle.manifest.receipts:
        notes.append("F1 was not measured: qa-onnx export --eval-data measures it")
    say("; ".join(notes))


def show_details(bundle: Bundle) -> None:
    """Print the rest of what was measured of a bundle at export."""
    manifest = bundle.manifest
    _show(page.precision_table(manifest))
    for line in (page.PRECISION_NOTE, *page.graph_lines(manifest)):
        say(line)
    if manifest.receipts:
        click.echo()
        show_receipts(manifest.receipts, verbose=True)


def show_receipts(receipts: dict[str, Receipt], *, verbose: bool) -> None:
    """Print the scores of each precision; with `verbose` all that its receipt holds."""
    _show(page.accuracy_table(receipts))
    for line in (page.scores_note(receipts), *(page.receipt_lines(receipts) if verbose else ())):
        say(line)


def _show(table: ReportTable) -> None:
    show_grid(table.head, table.rows, texts=table.texts)
