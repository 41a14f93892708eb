"""The figures of a run -> plots that are readable in black and white and without colour vision.

Every contender has the same line style, marker and colour in all plots.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.bench.document import interval_plot, name_rows, new_axes, svg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qa_onnx.bench.results import BenchResults

    Styles = Mapping[str, dict[str, Any]]

# Okabe and Ito's colours without yellow, which is too light for a line.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p", "x", "+", "d", "1", "2")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)), (0, (3, 5, 1, 5)))
_HATCHES = ("", "///", "", "\\\\\\", "xxx")
_GREYS = ("#333333", "#ffffff", "#cccccc", "#ffffff", "#ffffff")

_CAPTIONS = {
    "speed": "Questions a second, as a multiple of {base}'s: medians of {rounds} rounds with 95 % intervals.",
    "accuracy": "Accuracy against speed: up and to the right is better.",
    "latency": "Latency, one question after another: the share of questions that were answered within a time.",
    "stages": "Where the time of a question goes. Tokenize: to windows; pack: to batches; search: spans; map: to "
    "characters.",
    "batch": "Throughput by batch size.",
    "length": "Throughput by length of the text, one question a call.",
    "threads": "Throughput by threads.",
}


def plots(run: BenchResults) -> dict[str, tuple[str, str]]:
    """Draw the plots that a run has figures for.

    Returns:
        By name: the plot as an <svg> element, and its caption.
    """
    looks = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_LINES), strict=False)
    styles = {
        one.name: {"color": colour, "marker": marker, "linestyle": line, "markeredgewidth": 1.25}
        for one, (colour, marker, line) in zip(run.ran, looks, strict=False)
    }
    tokens = "token budget of a batch, of windows of some 384 tokens"
    drawn = {
        "speed": _speed(run, styles),
        "accuracy": _accuracy(run, styles),
        "latency": _latency(run, styles),
        "stages": _stages(run),
        "batch": _lines(run, styles, "by_batch_tokens", tokens),
        "length": _lines(run, styles, "by_length", "tokens of the window"),
        "threads": _lines(run, styles, "by_threads", "threads"),
    }
    captions = _CAPTIONS | {"speed": _CAPTIONS["speed"].format(base=run.ran[0].name, rounds=run.rounds)}
    return {name: (svg(axes), captions[name]) for name, axes in drawn.items() if axes is not None}


def _speed(run: BenchResults, styles: Styles) -> Any:
    ratios = [(one.name, one.ratio) for one in run.ran if one.ratio is not None]
    if len(ratios) < 2:
        return None
    rows = [(name, ratio.median, (ratio.low, ratio.high), styles[name]) for name, ratio in ratios]
    axes = interval_plot(rows)
    axes.axvline(1, color="black", linestyle=":", linewidth=1)
    axes.set_xlim(0, 1.08 * max(ratio.high for _, ratio in ratios))
    axes.set_xlabel(f"speed (x {ratios[0][0]})")
    return axes


def _accuracy(run: BenchResults, styles: Styles) -> Any:
    contenders = [one for one in run.ran if one.rate is not None and one.f1 is not None]
    if not contenders:
        return None
    axes = new_axes(width=8, height=4.5)
    for one in contenders:
        axes.plot(one.rate, one.f1, label=one.name, markersize=9, **{**styles[one.name], "linestyle": "none"})
    axes.margins(x=0.1, y=0.25)
    axes.set_xlim(left=0)
    _label(axes, "questions a second", "F1 (%)")
    return axes


def _latency(run: BenchResults, styles: Styles) -> Any:
    latencies = [(one.name, one.latency.quantiles) for one in run.ran if one.latency is not None]
    if not latencies:
        return None
    axes = new_axes(width=8, height=4.5)
    for name, quantiles in latencies:
        shares = np.linspace(0, 100, len(quantiles))
        every = max(1, len(shares) // 8)
        axes.plot(quantiles, shares, label=name, markevery=every, linewidth=1.5, **styles[name])
    axes.set_xscale("log")
    axes.set_ylim(0, 102)
    _plain_ticks(axes.xaxis)
    _label(axes, "milliseconds (logarithmic)", "questions answered (%)")
    return axes


def _stages(run: BenchResults) -> Any:
    contenders = [one for one in run.ran if one.stages]
    if not contenders:
        return None
    axes = new_axes(width=8, height=1.4 + 0.45 * len(contenders))
    left = np.zeros(len(contenders))
    for name, grey, hatch in zip(contenders[0].stages, _GREYS, _HATCHES, strict=True):
        widths = np.array([one.stages[name] for one in contenders])
        axes.barh(
            range(len(contenders)), widths, left=left, height=0.6, label=name, color=grey, hatch=hatch,
            edgecolor="black", linewidth=0.6,
        )  # fmt: skip
        left += widths
    axes.set_xlabel("milliseconds a question")
    name_rows(axes, [one.name for one in contenders], above=0.5)
    below = -0.35 / axes.figure.get_figheight() - 0.18
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, below), ncols=5, frameon=False)
    return axes


def _lines(run: BenchResults, styles: Styles, attribute: str, label: str) -> Any:
    """Draw an attribute of the contenders that gives questions a second by some number."""
    lines = [(one.name, sorted(getattr(one, attribute).items())) for one in run.ran]
    lines = [(name, line) for name, line in lines if len(line) > 1]
    if not lines:
        return None
    axes = new_axes(width=8, height=4)
    for name, line in lines:
        axes.plot(*zip(*line, strict=True), label=name, linewidth=1.5, **styles[name])
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    ticks = sorted({x for _, line in lines for x, _ in line})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    _label(axes, f"{label} (logarithmic)", "questions a second (logarithmic)")
    return axes


def _plain_ticks(axis: Any) -> None:
    """Label an axis with plain numbers, also between the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _label(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
