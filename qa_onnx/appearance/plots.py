"""Plots of matplotlib as SVG: legible at 360 pixels, in light and dark, in black and white, and on paper.

A drawing uses the light colours; a style element in the SVG replaces them on a dark screen.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from qa_onnx.appearance.colours import DARK, FILLS, FONT, LIGHT, SERIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH = 4.6  # inches: narrow enough for a telephone
_ROW = 60  # characters of 10 points beside each other in it
INK, PAPER, LINE = LIGHT["ink"], LIGHT["paper"], LIGHT["line"]

_DARK = "".join(
    f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
    for light, dark in (SERIES | FILLS).items()
    for what in ("fill", "stroke")
) + "".join(f'rect[fill="{light}"]{{fill:{dark}}}' for light, dark in (SERIES | FILLS).items())  # of hatches
_STYLE = (
    f"<style>text{{fill:{INK};font-family:{FONT}!important}}"
    f"@media screen and (prefers-color-scheme:dark){{text{{fill:{DARK['ink']}}}{_DARK}}}</style>"
)


def new_axes(*, height: float, rows: int = 1) -> Any:
    """Return the axes of a new matplotlib figure of `WIDTH`, or a list of them, one below the other.

    Args:
        height: of the figure, in inches.
        rows: number of axes, which share their x axis.
    """
    from matplotlib.figure import Figure  # no pyplot: it would keep global state

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return panels[0] if rows == 1 else list(panels)


def legend_below(axes: Any, *, columns: int = 0) -> Any:
    """Add a legend of some axes below the whole figure, which grows by its height; return it.

    Args:
        axes: whose labels it names.
        columns: 0: as many as the labels leave room for.
    """
    labels = axes.get_legend_handles_labels()[1]
    longest = max(map(len, labels), default=1)
    columns = columns or max(1, min(len(labels), _ROW // (longest + 7)))
    figure = axes.figure
    figure.set_figheight(figure.get_figheight() + 0.22 * -(-len(labels) // columns) + 0.1)
    return figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=columns, frameon=False)


def name_row(axes: Any, row: int, text: str) -> None:
    """Write a text above a row of a plot, at the left."""
    size = 10 * min(1, _ROW / len(text))
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
    name = axes.text(0, row - 0.24, text, transform=axes.get_yaxis_transform(), va="bottom", size=size, bbox=box)
    name.set_in_layout(False)  # it may be longer than the axis, which keeps its width


def interval_plot(rows: Sequence[tuple[str, float, Sequence[float], Mapping[str, Any]]]) -> Any:
    """Return the axes of a plot of values with intervals, the first row at the top.

    Args:
        rows: name, value, ends of its interval, and the look of its point as arguments of matplotlib's `plot`.
    """
    axes = new_axes(height=0.9 + 0.55 * len(rows))
    for row, (name, value, (low, high), look) in enumerate(rows):
        axes.plot((low, high), (row, row), color=INK, linewidth=1.5)
        axes.plot(value, row, **{**look, "linestyle": "none"}, markersize=8)
        name_row(axes, row, f"{name}: {value:.2f} ({low:.2f} to {high:.2f})")
    set_rows(axes, len(rows))
    return axes


def set_rows(axes: Any, count: int) -> None:
    """Leave room for so many rows and their names, the first one at the top."""
    axes.set_yticks([])
    axes.set_ylim(count - 0.6, -0.75)
    axes.spines["left"].set_visible(False)


def svg(axes: Any) -> str:
    """Return the figure of some axes as an <svg> element; the same drawing gives the same text."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "qa-onnx", "svg.fonttype": "none"}):  # text stays text
        axes.figure.savefig(out, format="svg", metadata={"Date": None}, facecolor=PAPER)
    text = out.getvalue()
    text = text[text.index("<svg") :].replace("#000000", INK).replace("#ffffff", PAPER)
    return text.replace(">", f">{_STYLE}", 1)
