"""Tables that commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Collection

    from qa_onnx import Bundle


def console(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr, 160 columns wide if that is not a terminal."""
    terminal = Console(highlight=False, markup=False, stderr=stderr)
    return terminal if terminal.is_terminal else Console(highlight=False, markup=False, stderr=stderr, width=160)


def plain(*columns: str, left: Collection[str] = ()) -> Table:
    """Return an empty table without borders; columns are aligned to the right, except those in `left`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    return table


def precisions(bundle: Bundle) -> Table:
    """Return a table with a row for each precision of a bundle: size, graph and parity."""
    words = ("precision", "graph", "fused nodes", "engines")
    table = plain(
        "precision", "MB", "graph", "fused nodes", "engines", "max diff", "mean diff", "same span", left=words
    )
    for name, graph in bundle.manifest.graphs.items():
        nodes = ", ".join(f"{count} {node}" for node, count in graph.fused_nodes.items())
        parity, differences = graph.parity, ("-", "-", "-")
        if parity is not None:
            differences = (f"{parity.max_abs:.2g}", f"{parity.mean_abs:.2g}", f"{parity.same_best_span:.1%}")
        table.add_row(
            name,
            f"{graph.file.size / 1e6:.1f}",
            graph.kind,
            nodes or "-",
            ", ".join(graph.engines),
            *differences,
        )
    return table


def show_receipts(bundle: Bundle) -> bool:
    """Print the receipt of each precision; return False if there is none."""
    receipts = {name: graph.receipt for name, graph in bundle.manifest.graphs.items() if graph.receipt}
    if not receipts:
        return False
    table = plain(
        "precision", "EM", "F1", "95 %", "of fp32", "kept back", "questions", "data", left=("precision", "data")
    )
    for name, receipt in receipts.items():
        accuracy = receipt.accuracy
        table.add_row(
            name,
            f"{accuracy.em:.2f}",
            f"{accuracy.f1:.2f}",
            "{:.1f}-{:.1f}".format(*accuracy.f1_interval),
            f"{receipt.percent_of_fp32:.2f} %",
            str(len(receipt.kept_back)),
            f"{receipt.n:,}",
            receipt.data,
        )
    console().print(table)
    for name, receipt in receipts.items():
        console().print(
            f"{name}: beside {receipt.source_name}: EM {receipt.source.em:.2f}, F1 {receipt.source.f1:.2f}; "
            f"fp32: EM {receipt.fp32.em:.2f}, F1 {receipt.fp32.f1:.2f}; measured {receipt.date[:10]} in "
            f"{receipt.engine} on {', '.join(receipt.instruction_sets) or 'a CPU with unknown instruction sets'}"
        )
        if by_characters := receipt.settings.get("f1_by_characters"):
            console().print(f"{name}: F1 by characters for {by_characters:,} of {receipt.n:,} questions")
        for node in receipt.kept_back:
            console().print(f"{name}: kept back {node}")
    return True
