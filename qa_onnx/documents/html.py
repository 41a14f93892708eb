"""HTML -> text, from the tree that a browser would build.

The parser is Lexbor, by selectolax: HTML5's own rules in C, so damaged pages read as in a browser. lxml's parser
knows HTML 4, and trafilatura guesses which part of a page matters, which the reader of an answer could not check.
None of them says where in the source a text stands, so there is no origin.

Left out: the head, scripts, styles, `noscript`, `template`, `nav`, fields of forms, embedded objects, drawings,
and what `hidden` or `style="display:none"` hides. Stylesheets are not read; headers, footers and asides stay.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qa_onnx.documents.text_builder import LINE, PARAGRAPH, Piece, Table, TextBuilder, joined

if TYPE_CHECKING:
    from qa_onnx.documents.limits import Limits


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


_DROPPED = _tags(
    "head script style noscript template nav iframe object embed svg canvas audio video select textarea button"
)
_PARAGRAPHS = _tags(
    "p h1 h2 h3 h4 h5 h6 ul ol dl pre blockquote table figure hr section article header footer main aside form "
    "fieldset address details"
)
_LINES = _tags("div li dt dd tr td th caption figcaption legend summary center dialog menu body html")
_LISTS = _tags("ul ol dl menu")
_NOT_SHOWN = re.compile(r"display\s*:\s*none", re.IGNORECASE)


def html_text(source: str, limits: Limits) -> str:
    """Return the text of an HTML document; InputError: it is beyond a limit."""
    from selectolax.lexbor import LexborHTMLParser

    node: Any = LexborHTMLParser(source).root
    writer = _HtmlWriter(limits)
    depth = 0
    while node is not None:  # not by recursion: elements may lie deep in each other
        inner = node.first_child if writer.start(node) else None
        if inner is not None:
            depth += 1
            limits.refuse("nesting", depth, "elements inside of each other")
            node = inner
            continue
        writer.end(node)
        while node.next is None and depth:
            node = node.parent
            depth -= 1
            writer.end(node)
        node = node.next if depth else None
    return writer.builder.finish()[0]


class _HtmlWriter:
    """Elements of a page, one after the other -> a text."""

    def __init__(self, limits: Limits) -> None:
        self.builder = TextBuilder(limits)
        self._lists = self._preformatted = self._tables = 0  # around this place
        self._table = Table(self.builder)  # the outer one
        self._row: list[list[Piece]] = []
        self._heads = 0  # cells of the row that are `th`

    def start(self, node: Any) -> bool:
        """Begin a node; return whether what is inside is wanted."""
        tag = node.tag
        if tag == "-text":
            self._write(node.text_content or "")
            return False
        if tag in _DROPPED or not node.is_element_node or _hidden(node.attributes):
            return False
        self._separate(tag)
        self._count(tag, 1)
        if tag == "br":
            self.builder.separate(LINE)
        elif self._tables == 1 and tag == "table":
            self._table = Table(self.builder)
        elif self._tables == 1 and tag == "tr":
            self._row, self._heads = [], 0
        elif self._tables == 1 and tag in {"td", "th"}:
            self.builder.begin_cell()
            self._heads += tag == "th"
        return True

    def end(self, node: Any) -> None:
        """End a node."""
        tag = node.tag
        if tag in _DROPPED or not node.is_element_node or _hidden(node.attributes):
            return
        if self._tables == 1 and tag in {"td", "th"}:
            self._row.append(joined(self.builder.end_cell()))
        elif self._tables == 1 and tag == "tr":
            is_first = self._table.header is None and not self._table.rows
            self._table.row(self._row, is_header=is_first and self._heads == len(self._row) > 1)
        elif self._tables == 1 and tag == "table":
            self._table.end()
        self._count(tag, -1)
        self._separate(tag)

    def _count(self, tag: str, step: int) -> None:
        self._lists += step * (tag in _LISTS)
        self._preformatted += step * (tag == "pre")
        self._tables += step * (tag == "table")

    def _write(self, text: str) -> None:
        if self._preformatted:
            self.builder.write(Piece(text.replace("\f", "\n").rstrip("\n")))
            if text.endswith("\n"):
                self.builder.separate(LINE)
        else:
            self.builder.flow(text.replace("\0", ""))

    def _separate(self, tag: str) -> None:
        if tag in _PARAGRAPHS or tag in _LINES:
            self.builder.separate(PARAGRAPH if tag in _PARAGRAPHS and not self._lists else LINE)


def _hidden(attributes: dict[str, str | None]) -> bool:
    return "hidden" in attributes or bool(_NOT_SHOWN.search(attributes.get("style") or ""))
