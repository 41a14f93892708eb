"""The figures of a run as plots: readable in black and white, and by who cannot tell colours apart.

Every contender has a line style, a marker and a grey-safe colour of its own, the same in all plots.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.bench.document import new_axes, svg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qa_onnx.bench.results import BenchResults, ContenderResult

# Okabe and Ito's colours without yellow, which is too light for a line.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p", "x", "+", "d", "1", "2")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)), (0, (3, 5, 1, 5)))
_HATCHES = ("", "///", "", "\\\\\\", "xxx")
_GREYS = ("#333333", "#ffffff", "#cccccc", "#ffffff", "#ffffff")


def plots(run: BenchResults) -> dict[str, tuple[str, str]]:
    """The plots that a run has figures for.

    Returns:
        By name: the plot as <svg>, and its caption in HTML.
    """
    styles = _styles(run)
    base = run.ran[0].name
    drawn: dict[str, tuple[Callable[[], str | None], str]] = {
        "speed": (
            lambda: _speed(run, styles),
            f"Questions a second, as a multiple of {base}'s: medians of {run.rounds} rounds with 95 % intervals.",
        ),
        "accuracy": (
            lambda: _accuracy(run, styles),
            "Accuracy against speed: up and to the right is better.",
        ),
        "latency": (
            lambda: _latency(run, styles),
            "Latency, one question after another: the share of questions that were answered within a time.",
        ),
        "stages": (
            lambda: _stages(run),
            "Where the time of a question goes. Tokenize: to windows; pack: to batches; search: spans; map: to "
            "characters.",
        ),
        "batch": (
            lambda: _lines(
                run,
                styles,
                lambda one: one.by_batch_tokens,
                "token budget of a batch, of windows of some 384 tokens",
            ),
            "Throughput by batch size.",
        ),
        "length": (
            lambda: _lines(run, styles, lambda one: one.by_length, "tokens of the window"),
            "Throughput by length of the text, one question a call.",
        ),
        "threads": (
            lambda: _lines(run, styles, lambda one: one.by_threads, "threads", log=False),
            "Throughput by threads.",
        ),
    }
    made = {name: (draw(), caption) for name, (draw, caption) in drawn.items()}
    return {name: (drawing, caption) for name, (drawing, caption) in made.items() if drawing is not None}


def _styles(run: BenchResults) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of each contender."""
    looks = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_LINES), strict=False)
    return {
        one.name: {"color": colour, "marker": marker, "linestyle": line, "markeredgewidth": 1.25}
        for one, (colour, marker, line) in zip(run.ran, looks, strict=False)
    }


def _speed(run: BenchResults, styles: Mapping[str, dict[str, Any]]) -> str | None:
    found = [(one, one.ratio) for one in run.ran if one.ratio is not None]
    if len(found) < 2:
        return None
    drawing, axes = new_axes(width=8, height=1 + 0.42 * len(found))
    for row, (one, ratio) in enumerate(found):
        axes.plot((ratio.low, ratio.high), (row, row), color="black", linewidth=1.5)
        axes.plot(ratio.median, row, **{**styles[one.name], "linestyle": "none"}, markersize=8)
        axes.annotate(f"{ratio.median:.2f}", (ratio.median, row), (0, 7), textcoords="offset points", ha="center")
    axes.axvline(1, color="black", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(found)), [one.name for one, _ in found])
    axes.set_ylim(len(found) - 0.5, -0.8)
    axes.set_xlim(0, 1.08 * max(ratio.high for _, ratio in found))
    axes.set_xlabel(f"speed (x {found[0][0].name})")
    return svg(drawing)


def _accuracy(run: BenchResults, styles: Mapping[str, dict[str, Any]]) -> str | None:
    found = [one for one in run.ran if one.rate is not None and one.f1 is not None]
    if not found:
        return None
    drawing, axes = new_axes(width=8, height=4.5)
    for one in found:
        look = {**styles[one.name], "linestyle": "none"}
        axes.plot(one.rate, one.f1, label=one.name, markersize=9, **look)
    axes.margins(x=0.1, y=0.25)
    axes.set_xlim(left=0)
    axes.set_xlabel("questions a second")
    axes.set_ylabel("F1 (%)")
    _legend(axes)
    return svg(drawing)


def _latency(run: BenchResults, styles: Mapping[str, dict[str, Any]]) -> str | None:
    found = [(one, one.latency) for one in run.ran if one.latency is not None]
    if not found:
        return None
    drawing, axes = new_axes(width=8, height=4.5)
    for one, latency in found:
        shares = np.linspace(0, 100, len(latency.quantiles))
        every = max(1, len(shares) // 8)
        axes.plot(latency.quantiles, shares, label=one.name, markevery=every, linewidth=1.5, **styles[one.name])
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds (logarithmic)")
    axes.set_ylabel("questions answered (%)")
    axes.set_ylim(0, 102)
    _plain_ticks(axes.xaxis)
    _legend(axes)
    return svg(drawing)


def _stages(run: BenchResults) -> str | None:
    found = [one for one in run.ran if one.stages]
    if not found:
        return None
    drawing, axes = new_axes(width=8, height=1.4 + 0.45 * len(found))
    left = np.zeros(len(found))
    for name, grey, hatch in zip(found[0].stages, _GREYS, _HATCHES, strict=True):
        widths = np.array([one.stages[name] for one in found])
        axes.barh(
            range(len(found)), widths, left=left, height=0.6, label=name, color=grey, hatch=hatch,
            edgecolor="black", linewidth=0.6,
        )  # fmt: skip
        left += widths
    axes.set_yticks(range(len(found)), [one.name for one in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel("milliseconds a question")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.35 / axes.figure.get_figheight() - 0.18), ncols=5,
                frameon=False)  # fmt: skip
    return svg(drawing)


def _lines(
    run: BenchResults,
    styles: Mapping[str, dict[str, Any]],
    points: Callable[[ContenderResult], Mapping[int, float]],
    label: str,
    *,
    log: bool = True,
) -> str | None:
    found = [(one, sorted(points(one).items())) for one in run.ran if len(points(one)) > 1]
    if not found:
        return None
    drawing, axes = new_axes(width=8, height=4)
    for one, line in found:
        axes.plot(*zip(*line, strict=True), label=one.name, linewidth=1.5, **styles[one.name])
    if log:
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
    ticks = sorted({x for _, line in found for x, _ in line})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(label + (" (logarithmic)" if log else ""))
    axes.set_ylabel("questions a second" + (" (logarithmic)" if log else ""))
    _legend(axes)
    return svg(drawing)


def _plain_ticks(axis: Any) -> None:
    """Numbers as people write them, also between the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(axes: Any) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
