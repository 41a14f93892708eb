"""A run's losses and evaluations -> a picture, readable in black and white."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_POINTS = 300


def thinned(losses: Sequence[float], steps: int = _POINTS) -> tuple[list[float], list[float]]:
    """Means of runs of losses, at most so many, and the step that each ends at."""
    parts = np.array_split(np.asarray(losses, np.float64), min(steps, len(losses)))
    ends = np.cumsum([len(part) for part in parts])
    return [float(end) for end in ends], [float(part.mean()) for part in parts]


def plot(losses: Sequence[float], evaluations: Sequence[dict[str, Any]]) -> str:
    """The SVG of a run: loss above, F1 and EM below, over the steps.

    Args:
        losses: of each step, at least one.
        evaluations: each with steps, f1, em and best; may be none.
    """
    from matplotlib.figure import Figure  # no pyplot: it would keep global state

    rows = 2 if evaluations else 1
    figure = Figure(figsize=(7.5, 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.85", linewidth=0.8)
        axes.set_axisbelow(True)
    steps, means = thinned(losses)
    panels[0].plot(steps, means, color="black", linewidth=1.2)
    panels[0].set_ylabel("loss (mean of start and end)")
    panels[0].set_ylim(bottom=0)
    if evaluations:
        at = [one["steps"] for one in evaluations]
        panels[1].plot(at, [one["f1"] for one in evaluations], "o-", color="black", label="F1", markersize=5)
        em = [one["em"] for one in evaluations]
        panels[1].plot(at, em, "s--", color="black", markerfacecolor="white", label="exact match", markersize=5)
        best = [one for one in evaluations if one["best"]][-1]
        panels[1].annotate(
            f"best: {best['f1']:.1f}", (best["steps"], best["f1"]), (0, 9), textcoords="offset points", ha="center"
        )
        panels[1].set_ylabel(f"on {evaluations[0]['n']:,} other questions (%)")
        panels[1].margins(y=0.2)
        panels[1].legend(loc="lower right", frameon=False)
    panels[-1].set_xlabel("step")
    panels[-1].set_xlim(left=0)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
