"""Blocks -> a report, in Markdown or as one HTML file that loads nothing from elsewhere; and plots as SVG.

A block is a text, a list of texts, a `ReportTable` or a `Plot`. A text that begins with "# " or "## " is a
heading, one that begins with "$ " a command, any other a paragraph; `code` stands in backticks.
"""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #111;
       background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }
td:first-child, th:first-child { white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; } svg { max-width: 100%; height: auto; } code { font-size: .85em; }
"""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table; the columns in `texts` are aligned to the left, the others hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Collection[int] = (0,)


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot as an <svg> element, its caption, and the path of its file for Markdown."""

    svg: str
    caption: str
    path: str = ""


Block: TypeAlias = "str | list[str] | ReportTable | Plot"


def to_markdown(blocks: Iterable[Block]) -> str:
    """Return the blocks as Markdown; plots are linked by their path."""
    return "\n\n".join(_markdown(block) for block in blocks if block)


def _markdown(block: Block) -> str:
    if isinstance(block, Plot):
        return f"![{block.caption}]({block.path})\n\n{block.caption}"
    if isinstance(block, ReportTable):
        rule = ["---" if column in block.texts else "---:" for column in range(len(block.head))]
        lines = ([cell.replace("|", "/") for cell in line] for line in (block.head, rule, *block.rows))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if isinstance(block, list):
        return "\n".join(f"- {line}" for line in block)
    return f"```console\n{block}\n```" if block.startswith("$ ") else block


def to_html(title: str, blocks: Iterable[Block]) -> str:
    """Return the blocks as a whole HTML page, with the plots inside."""
    body = "\n".join(_html(block) for block in blocks if block)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Plot):
        return f"<figure>{block.svg}<figcaption>{html.escape(block.caption)}</figcaption></figure>"
    if isinstance(block, ReportTable):
        rows = "".join(f"<tr>{_cells('td', row, block.texts)}</tr>" for row in block.rows)
        head = _cells("th", block.head, block.texts)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    if isinstance(block, list):
        return f"<ul>{''.join(f'<li>{_inline(line)}</li>' for line in block)}</ul>"
    mark, _, text = block.partition(" ")
    tag = {"#": "h1", "##": "h2"}.get(mark)
    if tag:
        return f"<{tag}>{_inline(text)}</{tag}>"
    return f"<p><code>{html.escape(text)}</code></p>" if mark == "$" else f"<p>{_inline(block)}</p>"


def _cells(tag: str, cells: Iterable[str], texts: Collection[int]) -> str:
    return "".join(
        f"<{tag}{'' if column in texts else ' class=number'}>{html.escape(cell)}</{tag}>"
        for column, cell in enumerate(cells)
    )


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def new_axes(*, width: float, height: float) -> Any:
    """Return the axes of a new matplotlib figure; its size is in inches."""
    from matplotlib.figure import Figure  # no pyplot: it would keep global state

    axes = Figure(figsize=(width, height), layout="constrained").subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def svg(axes: Any) -> str:
    """Return the figure of some axes as an <svg> element; the same drawing gives the same text."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "qa-onnx", "svg.fonttype": "none"}):  # text stays text
        axes.figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
