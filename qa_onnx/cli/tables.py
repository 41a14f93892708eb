"""Tables about bundles, as commands print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from qa_onnx import Bundle


def console() -> Console:
    """The console of stdout, which keeps a table's width when there is no terminal."""
    plain = Console(highlight=False, markup=False)
    return plain if plain.is_terminal else Console(highlight=False, markup=False, width=160)


def precisions(bundle: Bundle) -> Table:
    """One row for each precision of a bundle: size, graph and parity."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("precision", "MB", "graph", "fused nodes", "engines", "max diff", "mean diff", "same span"):
        table.add_column(
            name, justify="left" if name in {"precision", "graph", "fused nodes", "engines"} else "right"
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
