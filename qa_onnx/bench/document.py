"""What the pages of `report` and `bench` are made of: tables, plots as SVG, and one file that holds all.

Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING, Any

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


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page of pieces of HTML.

    Args:
        title: HTML, so escaped.
        parts: HTML.
    """
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def new_axes(*, width: float, height: float) -> tuple[Any, Any]:
    """A matplotlib figure of this size in inches, and its axes."""
    from matplotlib.figure import Figure  # no pyplot: it would keep global state

    made = Figure(figsize=(width, height), layout="constrained")
    inside = made.subplots()
    inside.spines[["top", "right"]].set_visible(False)
    return made, inside


def svg(drawn: Any) -> str:
    """A matplotlib figure as an <svg> element; the same drawing gives the same text."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "qa-onnx", "svg.fonttype": "none"}):  # text stays text
        drawn.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def figure(drawing: str, caption: str) -> str:
    """A plot with its caption, both HTML."""
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def table(head: Iterable[str], rows: Iterable[Sequence[str]], *, numbers: Collection[int]) -> str:
    """A table of plain texts; the columns in `numbers` are aligned to the right."""

    def cells(tag: str, values: Iterable[str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if column in numbers else ''}>{html.escape(value)}</{tag}>"
            for column, value in enumerate(values)
        )

    lines = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{lines}</tbody></table>"
