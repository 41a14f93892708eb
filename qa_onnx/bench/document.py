"""Parts of a report in Markdown, and a report as one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.appearance.pages import page

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


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

    def figure(found: re.Match[str]) -> str:
        return f"<figure>{plots[found[1]]}<figcaption>{found[2]}</figcaption></figure>"

    return page(title, re.sub(r'<p><img src="([^"]*)"[^>]*></p>\s*<p>(.*?)</p>', figure, body, flags=re.DOTALL))
