"""Tables as commands print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Collection

    from qa_onnx import Bundle


def console() -> Console:
    """The console of stdout, which keeps a table's width when there is no terminal."""
    plain_console = Console(highlight=False, markup=False)
    return plain_console if plain_console.is_terminal else Console(highlight=False, markup=False, width=160)


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
