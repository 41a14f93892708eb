"""The figures of a run -> plots that are readable in black and white and without colour vision.

Every contender has the same line style, marker and colour in all plots.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.appearance.colours import FILLS, SERIES
from qa_onnx.appearance.plots import INK, interval_plot, legend_below, name_row, new_axes, set_rows, svg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qa_onnx.bench.results import BenchResults

    Styles = Mapping[str, dict[str, Any]]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p", "x", "+", "d", "1", "2")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)), (0, (3, 5, 1, 5)))
_HATCHES = ("", "///", "", "\\\\\\", "xxx")
_SOFT, _LINE, _PAPER = FILLS
_GREYS = (_SOFT, _PAPER, _LINE, _PAPER, _PAPER)

_CAPTIONS = {
    "speed": "Questions a second, as a multiple of {base}'s: medians of {rounds} rounds with 95 % intervals.",
    "accuracy": "Accuracy against speed: up and to the right is better.",
    "latency": "Latency, one question after another: the share of questions that were answered within a time.",
    "stages": "Where the time of a question goes. Tokenize: to windows; pack: to batches; search: spans; map: to "
    "characters.",
    "batch": "Throughput by the token budget of a batch, eight windows of some 384 tokens a call. Where windows "
    "run side by side, each on a core, the budget makes little difference.",
    "length": "Throughput by length of the text, one question a call.",
    "threads": "Throughput by threads.",
}


def plots(run: BenchResults) -> dict[str, tuple[str, str]]:
    """Draw the plots that a run has figures for.

    Returns:
        By name: the plot as an <svg> element, and its caption.
    """
    looks = zip(cycle(SERIES), cycle(_MARKERS), cycle(_LINES), strict=False)
    styles = {
        one.name: {"color": colour, "marker": marker, "linestyle": line, "markeredgewidth": 1.25}
        for one, (colour, marker, line) in zip(run.ran, looks, strict=False)
    }
    accuracy = {
        one.name: ((one.rate,), (one.f1,)) for one in run.ran if one.rate is not None and one.f1 is not None
    }
    latency = {
        one.name: (one.latency.quantiles, np.linspace(0, 100, len(one.latency.quantiles)))
        for one in run.ran
        if one.latency is not None
    }
    tokens = "token budget of a batch"
    drawn = {
        "speed": _speed(run, styles),
        "accuracy": _curves(accuracy, styles, "questions a second", "F1 (%)"),
        "latency": _curves(latency, styles, "milliseconds", "questions answered (%)", log="x"),
        "stages": _stages(run),
        "batch": _rates(run, styles, "by_batch_tokens", tokens),
        "length": _rates(run, styles, "by_length", "tokens of the window"),
        "threads": _rates(run, styles, "by_threads", "threads"),
    }
    captions = _CAPTIONS | {"speed": _CAPTIONS["speed"].format(base=run.ran[0].name, rounds=run.rounds)}
    return {name: (svg(axes), captions[name]) for name, axes in drawn.items() if axes is not None}


def _speed(run: BenchResults, styles: Styles) -> Any:
    ratios = [(one.name, one.ratio) for one in run.ran if one.ratio is not None]
    if len(ratios) < 2:
        return None
    rows = [(name, ratio.median, (ratio.low, ratio.high), styles[name]) for name, ratio in ratios]
    axes = interval_plot(rows)
    axes.axvline(1, color=INK, linestyle=":", linewidth=1, zorder=0)
    axes.set_xlim(0, 1.08 * max(ratio.high for _, ratio in ratios))
    axes.set_xlabel(f"speed (x {ratios[0][0]})")
    return axes


def _curves(curves: Mapping[str, Any], styles: Styles, x: str, y: str, *, log: str = "") -> Any:
    """Draw a curve for each contender.

    Args:
        curves: by name: the points' x and y.
        styles: see `plots`.
        x: what the x axis shows.
        y: what the y axis shows.
        log: "x" or "xy", the axes that are logarithmic.

    Returns:
        The axes; None if there is no curve.
    """
    if not curves:
        return None
    axes = new_axes(height=3.1)
    for name, (xs, ys) in curves.items():
        axes.plot(xs, ys, label=name, markevery=max(1, len(xs) // 8), linewidth=1.5, **styles[name])
    axes.margins(0.05)
    if "x" not in log:
        axes.set_xlim(left=0)
    for letter, label, axis in (("x", x, axes.xaxis), ("y", y, axes.yaxis)):
        axes.set(**{f"{letter}label": label})
        if letter in log:
            axes.set(**{f"{letter}scale": "log", f"{letter}label": f"{label} (logarithmic)"})
            _plain_ticks(axis)
    legend_below(axes)
    return axes


def _rates(run: BenchResults, styles: Styles, attribute: str, x: str) -> Any:
    """Draw an attribute of the contenders that gives questions a second by some number."""
    rates = {one.name: sorted(getattr(one, attribute).items()) for one in run.ran}
    curves = {name: tuple(zip(*line, strict=True)) for name, line in rates.items() if len(line) > 1}
    axes = _curves(curves, styles, x, "questions a second", log="xy")
    if axes is not None:
        ticks = sorted({number for xs, _ in curves.values() for number in xs})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xticks([], minor=True)
    return axes


def _stages(run: BenchResults) -> Any:
    contenders = [one for one in run.ran if one.stages]
    if not contenders:
        return None
    axes = new_axes(height=0.9 + 0.6 * len(contenders))
    left = np.zeros(len(contenders))
    for name, grey, hatch in zip(contenders[0].stages, _GREYS, _HATCHES, strict=True):
        widths = np.array([one.stages[name] for one in contenders])
        axes.barh(
            range(len(contenders)), widths, left=left, height=0.4, label=name, color=grey, hatch=hatch,
            edgecolor=INK, linewidth=0.6,
        )  # fmt: skip
        left += widths
    axes.set_xlabel("milliseconds a question")
    for row, one in enumerate(contenders):
        name_row(axes, row, f"{one.name}: {sum(one.stages.values()):,.2f} ms")
    set_rows(axes, len(contenders))
    legend_below(axes, columns=3)
    return axes


def _plain_ticks(axis: Any) -> None:
    """Label an axis with plain numbers, also between the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
