"""Parts of a report in Markdown, a report as one HTML file that loads nothing from elsewhere, plots as SVG."""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #111;
       background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #ddd; vertical-align: top;
         font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { white-space: nowrap; }
svg { max-width: 100%; height: auto; } code { font-size: .85em; } pre { overflow-x: auto; }
"""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table; the columns in `texts` are aligned to the left, the others hold numbers. Its str is Markdown."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Collection[int] = (0,)

    def __str__(self) -> str:
        rule = ["---" if column in self.texts else "---:" for column in range(len(self.head))]
        lines = ([cell.replace("|", "/") for cell in line] for line in (self.head, rule, *self.rows))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number_of(things: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, in the singular or plural; the plural of most ends in s."""
    return f"{things:,} {noun if things == 1 else plural or f'{noun}s'}"


def bullets(lines: Iterable[str]) -> str:
    """Return the lines as a list in Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def console(command: str) -> str:
    """Return a command line in Markdown."""
    return f"```console\n$ {command}\n```"


def plot(path: str, caption: str) -> str:
    """Return a plot and its caption in Markdown; `path` is that of its file."""
    return f"![{caption}]({path})\n\n{caption}"


def to_html(title: str, markdown: str, plots: Mapping[str, str]) -> str:
    """Return a report as a whole HTML page; `plots` has an <svg> element for each path in it."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r'<img src="([^"]*)"[^>]*>', lambda image: plots[image[1]], body)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}</body></html>\n"
    )


def new_axes(*, width: float, height: float) -> Any:
    """Return the axes of a new matplotlib figure; its size is in inches."""
    from matplotlib.figure import Figure  # no pyplot: it would keep global state

    axes = Figure(figsize=(width, height), layout="constrained").subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def interval_plot(rows: Sequence[tuple[str, float, Sequence[float], Mapping[str, Any]]]) -> Any:
    """Return the axes of a plot of values with intervals, the first row at the top.

    Args:
        rows: name, value, ends of its interval, and the look of its point as arguments of matplotlib's `plot`.
    """
    axes = new_axes(width=8, height=1 + 0.42 * len(rows))
    for row, (_, value, interval, look) in enumerate(rows):
        axes.plot(interval, (row, row), color="black", linewidth=1.5)
        axes.plot(value, row, **{**look, "linestyle": "none"}, markersize=8)
        axes.annotate(f"{value:.2f}", (value, row), (0, 7), textcoords="offset points", ha="center")
    name_rows(axes, [name for name, *_ in rows], above=0.8)
    return axes


def name_rows(axes: Any, names: Sequence[str], *, above: float) -> None:
    """Name the rows of a plot, the first one at the top, with some space above it."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -above)


def svg(axes: Any) -> str:
    """Return the figure of some axes as an <svg> element; the same drawing gives the same text."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "qa-onnx", "svg.fonttype": "none"}):  # text stays text
        axes.figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
