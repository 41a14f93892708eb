"""Tables that commands print."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from qa_onnx.bench import page
from qa_onnx.errors import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qa_onnx import Bundle


def console(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr, 160 columns wide if that is not a terminal."""
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 160
    return Console(highlight=False, markup=False, emoji=False, stderr=stderr, width=width)


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Iterable[int] = (0,)) -> Table:
    """Return a table without borders; the columns in `texts` are aligned to the left, the others to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, name in enumerate(head):
        table.add_column(name, justify="left" if column in texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def printable(text: str) -> str:
    """Return a text with escapes for what a terminal would act on, except line ends and tabs."""
    parts = re.split(r"([\n\t])", text.replace("\r\n", "\n"))
    return "".join(part if part in ("\n", "\t") else escaped(part) for part in parts)


def precisions(bundle: Bundle) -> Table:
    """Return a table with a row for each precision of a bundle: size, graph and parity."""
    table = page.precision_table(bundle.manifest)
    return grid(table.head, table.rows, texts=table.texts)


def show_receipts(bundle: Bundle) -> None:
    """Print the receipt of each precision that has one."""
    receipts = {name: graph.receipt for name, graph in bundle.manifest.graphs.items() if graph.receipt}
    if receipts:
        table = page.accuracy_table(receipts)
        console().print(grid(table.head, table.rows, texts=table.texts))
        for line in page.receipt_lines(receipts):
            console().print(printable(line))
