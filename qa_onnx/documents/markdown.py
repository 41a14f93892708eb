"""Markdown (CommonMark with tables) -> text without its marks, and where in the source each piece of it stands.

The parser, markdown-it-py, says which lines a block has. Within them the pieces of text are found one after the
other, with the targets of links passed over, so each run of the origin reads in the source as in the text, or, as
for `&amp;`, is what the parser says it was written as. A piece that is not found has no place.

Left out: tags of HTML, whose text stays; addresses of links and images.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from qa_onnx.documents.text_builder import LINE, PARAGRAPH, Piece, Table, TextBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.documents.document import Origin
    from qa_onnx.documents.limits import Limits

_BLOCKS = frozenset({"paragraph", "heading", "blockquote", "bullet_list", "ordered_list", "table"})
_LINE_END = re.compile(r"\r\n|\n|\r")
_LONGEST_TARGET = 4000  # characters of a link's address and title that are passed over


def markdown_text(source: str, limits: Limits) -> tuple[str, Origin]:
    """Return the text of a Markdown document and its origin; InputError: it is beyond a limit."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parser.disable("text_join", ignoreInvalid=True)  # escapes and entities stay pieces of their own
    writer = _MarkdownWriter(source, limits, parser)
    for token in parser.parse(source):
        writer.block(token)
    return writer.builder.finish()


class _Places:
    """Finds pieces of text in the source, each behind the one before.

    Args:
        source: the whole document.
        parser: whose rules for addresses of links are used.
    """

    def __init__(self, source: str, parser: Any) -> None:
        self.source = source
        self._helpers = parser.helpers
        self._lines = [0, *(match.end() for match in _LINE_END.finditer(source)), len(source)]
        self._at = self._end = 0

    def enter(self, lines: Sequence[int]) -> None:
        """Go to the lines of a block; in a block within one that was entered, on from the place before."""
        last = len(self._lines) - 1
        self._at = max(self._at, self._lines[min(lines[0], last)])
        self._end = self._lines[min(lines[1], last)]

    def piece(self, text: str, written: str = "") -> Piece:
        """Return a piece of text with its place, and go on behind it.

        Args:
            text: as it is shown.
            written: as it is in the source; "": the same.
        """
        written = written or text
        at = self.source.find(written, self._at, self._end) if written else -1
        if at < 0:
            return Piece(text)
        self._at = at + len(written)
        return Piece(text, at, len(written))

    def pass_target(self) -> None:
        """Go on behind the address of a link or image, whose text has just ended."""
        bracket = self.source.find("]", self._at, self._end)
        if bracket < 0:
            return
        self._at = at = bracket + 1
        if self.source[at : at + 1] == "[":
            self._at = self.source.find("]", at, self._end) + 1 or at
        elif self.source[at : at + 1] == "(":
            start = at + 1
            text = self.source[start : min(self._end, start + _LONGEST_TARGET)]
            address = self._helpers.parseLinkDestination(text, len(text) - len(text.lstrip()), len(text))
            blank = address.pos if address.ok else 0
            blank += len(text[blank:]) - len(text[blank:].lstrip())
            title = self._helpers.parseLinkTitle(text, blank, len(text))
            close = text.find(")", title.pos if title.ok else blank)
            self._at = start + close + 1 if close >= 0 else at


class _MarkdownWriter:
    """Tokens of a document, one after the other -> a text."""

    def __init__(self, source: str, limits: Limits, parser: Any) -> None:
        self.builder = TextBuilder(limits)
        self._places = _Places(source, parser)
        self._lists = 0
        self._table = Table(self.builder)
        self._row: list[list[Piece]] = []

    def block(self, token: Any) -> None:
        """Write what a token of a block says."""
        if token.map is not None and token.type != "inline":
            self._places.enter(token.map)
        name = token.type.removesuffix("_open").removesuffix("_close")
        if name in {"bullet_list", "ordered_list"}:
            self._lists += token.nesting
        if name in _BLOCKS and not token.hidden:
            self.builder.separate(LINE if self._lists else PARAGRAPH)
        elif name == "list_item" or token.hidden:
            self.builder.separate(LINE)
        if token.type == "inline":
            if token.map is not None:
                self._places.enter(token.map)
            self._inline(token.children or [])
        elif token.type in {"fence", "code_block"}:
            self._code(token)
        elif token.type == "html_block":
            self._html(token.content)
        elif name in {"tr", "th", "td", "table"}:
            self._of_table(token.type)

    def _of_table(self, token: str) -> None:
        if token == "table_open":
            self._table = Table(self.builder)
        elif token == "tr_open":
            self._row = []
        elif token in {"th_open", "td_open"}:
            self.builder.begin_cell()
        elif token in {"th_close", "td_close"}:
            self._row.append(self.builder.end_cell())
        elif token == "tr_close":
            self._table.row(self._row, is_header=self._table.header is None)
        elif token == "table_close":
            self._table.end()

    def _inline(self, children: Sequence[Any]) -> None:
        for child in children:
            if child.type == "text":
                self.builder.flow_piece(self._places.piece(child.content))
            elif child.type == "text_special":
                self.builder.flow_piece(self._places.piece(child.content, child.markup))
            elif child.type == "code_inline":
                self.builder.flow_piece(self._places.piece(child.content))
            elif child.type == "image":
                self._inline(child.children or [])
                self._places.pass_target()
            elif child.type == "link_close" and child.markup not in {"autolink", "linkify"}:
                self._places.pass_target()
            elif child.type == "html_inline":
                self._places.piece(child.content)
                if child.content.lower().startswith("<br"):
                    self.builder.separate(LINE)
            elif child.type == "softbreak":
                self.builder.flow_piece(Piece(" "))
            elif child.type == "hardbreak":
                self.builder.separate(LINE)

    def _code(self, token: Any) -> None:
        self.builder.separate(LINE if self._lists else PARAGRAPH)
        if token.type == "fence":  # its first line may hold the same word
            self._places.piece(token.markup + token.info)
        for line in token.content.split("\n"):
            self.builder.write(self._places.piece(line.replace("\f", " ")))
            self.builder.separate(LINE)
        self.builder.separate(LINE if self._lists else PARAGRAPH)

    def _html(self, content: str) -> None:
        self.builder.separate(PARAGRAPH)
        for text in _texts(content):
            self.builder.flow_piece(self._places.piece(text))
        self.builder.separate(PARAGRAPH)


def _texts(content: str) -> list[str]:
    """Return the texts between tags, without those of scripts and styles."""
    texts: list[str] = []

    class Texts(HTMLParser):
        def handle_data(self, data: str) -> None:
            if self.cdata_elem is None:
                texts.append(data)

    parser = Texts()
    parser.feed(content)
    parser.close()
    return texts
