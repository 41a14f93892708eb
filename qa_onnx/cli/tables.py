"""Tables as commands print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Collection

    from qa_onnx import Bundle


def console(*, stderr: bool = False) -> Console:
    """The console of stdout, or stderr, which keeps a table's width when there is no terminal."""
    found = Console(highlight=False, markup=False, stderr=stderr)
    return found if found.is_terminal else Console(highlight=False, markup=False, stderr=stderr, width=160)


def plain(*columns: str, left: Collection[str] = ()) -> Table:
    """An empty table without borders; columns are aligned to the right but for those in `left`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    return table


def precisions(bundle: Bundle) -> Table:
    """One row for each precision of a bundle: size, graph and parity."""
    words = ("precision", "graph", "fused nodes", "engines")
    table = plain(
        "precision", "MB", "graph", "fused nodes", "engines", "max diff", "mean diff", "same span", left=words
    )
    for name, graph in bundle.manifest.graphs.items():
        nodes = ", ".join(f"{count} {node}" for node, count in graph.fused_nodes.items())
        parity = graph.parity
        table.add_row(
            name,
            f"{graph.file.size / 1e6:.1f}",
            graph.kind,
            nodes or "-",
            ", ".join(graph.engines),
            "-" if parity is None else f"{parity.max_abs:.2g}",
            "-" if parity is None else f"{parity.mean_abs:.2g}",
            "-" if parity is None else f"{parity.same_best_span:.1%}",
        )
    return table


def show_receipts(bundle: Bundle) -> bool:
    """Print what was measured of each precision; False where nothing was."""
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
        said = f"{receipt.source_name}: EM {receipt.source.em:.2f}, F1 {receipt.source.f1:.2f}; fp32: "
        said += f"EM {receipt.fp32.em:.2f}, F1 {receipt.fp32.f1:.2f}; measured {receipt.date[:10]} in "
        said += f"{receipt.engine} on "
        said += ", ".join(receipt.instruction_sets) or "a CPU that does not tell"
        console().print(f"{name}: beside {said}")
        for node in receipt.kept_back:
            console().print(f"{name}: kept back {node}")
    return True
