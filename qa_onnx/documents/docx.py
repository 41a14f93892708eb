"""A Word document (DOCX) -> text: paragraphs, lists, tables, footnotes, and the page breaks that Word stored.

The XML is read as a stream with expat, of which only `word/document.xml` and the footnotes are unpacked, so memory
and nesting are bounded before anything is built. python-docx, which is well kept, reads all parts of the archive
into memory, follows merged cells by recursion, and leaves out text in content controls and tracked insertions.

Left out: headers and footers, comments, deleted text, text in images, numbers of list items.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING
from xml.parsers import expat

from qa_onnx.documents.text_builder import PARAGRAPH, Piece, Table, TextBuilder, joined
from qa_onnx.errors import InputError, QaOnnxError, shown

if TYPE_CHECKING:
    from qa_onnx.documents.limits import Limits

MAIN = "word/document.xml"
_FOOTNOTES = ("word/footnotes.xml", "word/endnotes.xml")
_SPACES = (  # of WordprocessingML: transitional, and strict
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_COMPATIBILITY = "http://schemas.openxmlformats.org/markup-compatibility/2006"
_MOST_FILES = 10_000  # of an archive
_CHUNK = 8 << 20  # bytes that are parsed at once; small ones would make expat read long tokens again and again
_CHARACTERS = {"tab": "\t", "cr": "\n", "noBreakHyphen": "-"}


def docx_text(data: bytes, limits: Limits) -> str:
    """Return the text of a DOCX file.

    Raises:
        InputError: it is damaged, encrypted, or beyond a limit.
    """
    if data.count(b"PK\x01\x02") > _MOST_FILES:  # before Python makes an object of each
        raise InputError(f"the archive has more than {_MOST_FILES:,} files; a Word document has fewer")
    writer = _DocxWriter(limits)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if MAIN not in names:
                raise InputError(f"the archive holds no {MAIN}, as a Word document does")
            parts = [MAIN, *(name for name in _FOOTNOTES if name in names)]
            total = sum(archive.getinfo(name).file_size for name in parts)
            limits.refuse("unpacked_bytes", total, "bytes of text parts, unpacked")
            for name in parts:
                writer.builder.separate(PARAGRAPH)
                _parse(archive, name, writer)
    except QaOnnxError:
        raise
    except Exception as error:  # zipfile has a dozen kinds of errors for damaged archives
        raise InputError(
            f"damaged or encrypted Word document ({shown(str(error))})", remedy="save it again, without a password"
        ) from error
    return writer.builder.finish()[0]


def _parse(archive: zipfile.ZipFile, name: str, writer: _DocxWriter) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = writer.start
    parser.EndElementHandler = writer.end
    parser.CharacterDataHandler = writer.characters
    parser.StartDoctypeDeclHandler = _refuse_doctype
    with archive.open(name) as part:
        try:
            while chunk := part.read(_CHUNK):  # of a directory that lies, no more than it says
                parser.Parse(chunk)
            parser.Parse(b"", True)  # noqa: FBT003
        except expat.ExpatError as error:
            raise InputError(f"{name} is damaged XML ({error})", remedy="save the document again") from error


def _refuse_doctype(*_: object) -> None:
    """Refuse what could define entities; no Word document has it."""
    raise InputError(
        "the document's XML declares a document type, which Word never writes and which may be an attack"
    )


class _DocxWriter:
    """Handlers of the parser: elements -> a text.

    Args:
        limits: that are held.
    """

    def __init__(self, limits: Limits) -> None:
        self.builder = TextBuilder(limits)
        self._limits = limits
        self._depth = 0
        self._skipped_at = 0  # depth of the element that is left out, with all in it; 0: none
        self._in_text = False
        self._in_properties = False
        self._tables = 0  # around this place
        self._table = Table(self.builder)  # the outer one
        self._row: list[list[Piece]] = []
        self._is_header = self._is_merged = False
        self._pages = 0  # breaks that wait for the end of the row
        self._broke = False  # nothing was written since the last break
        self._was_item = self._is_item = False  # the last paragraph, and this one, are items of a list

    def start(self, full_name: str, attributes: dict[str, str]) -> None:
        """Begin an element."""
        self._depth += 1
        self._limits.refuse("nesting", self._depth, "elements inside of each other")
        if self._skipped_at:
            return
        space, _, name = full_name.rpartition(" ")
        if space == _COMPATIBILITY and name == "Fallback":  # the same text again, for old programs
            self._skipped_at = self._depth
        if space not in _SPACES:
            return
        value = next((text for key, text in attributes.items() if key.rpartition(" ")[2] == "val"), "")
        if name in {"pPr", "trPr", "tcPr", "rPr", "sectPr"}:
            self._in_properties = True
        if self._in_properties:
            self._property(name, value)
        elif name == "t":
            self._in_text = True
        elif name == "p":
            self.builder.separate(PARAGRAPH)
            self._was_item, self._is_item = self._is_item, False
        elif name in _CHARACTERS:
            self._write(_CHARACTERS[name])
        elif name in {"br", "lastRenderedPageBreak"}:
            self._break(name, attributes)
        elif name in {"tbl", "tr", "tc"}:
            self._start_table(name)

    def end(self, full_name: str) -> None:
        """End an element."""
        depth, self._depth = self._depth, self._depth - 1
        if self._skipped_at:
            self._skipped_at = 0 if depth == self._skipped_at else self._skipped_at
            return
        space, _, name = full_name.rpartition(" ")
        if space not in _SPACES:
            return
        if name in {"pPr", "trPr", "tcPr", "rPr", "sectPr"}:
            self._in_properties = False
        elif name == "t":
            self._in_text = False
        elif name == "p":
            self.builder.separate(PARAGRAPH)
        elif name in {"tbl", "tr", "tc"}:
            self._end_table(name)

    def characters(self, text: str) -> None:
        """Take text between two elements."""
        if self._in_text and not self._skipped_at:
            self._write(text)

    def _property(self, name: str, value: str) -> None:
        if name == "numPr" or (name == "pStyle" and value.startswith("List")):
            if self._was_item:
                self.builder.narrow()
            self._is_item = True
        elif name == "tblHeader" and value not in {"0", "false"}:
            self._is_header = True
        elif name == "vMerge" and value != "restart":
            self._is_merged = True

    def _write(self, text: str) -> None:
        self._broke = False
        self.builder.write(Piece(text))

    def _break(self, name: str, attributes: dict[str, str]) -> None:
        kind = next((text for key, text in attributes.items() if key.rpartition(" ")[2] == "type"), "")
        if name == "br" and kind != "page":
            self._write("\n")
            return
        if name == "lastRenderedPageBreak" and self._broke:
            return  # Word stores both for one break
        self._broke = True
        if self._tables:
            self._pages += 1
        else:
            self.builder.page()

    def _start_table(self, name: str) -> None:
        if name == "tbl":
            self._tables += 1
            if self._tables == 1:
                self.builder.separate(PARAGRAPH)
                self._table = Table(self.builder)
        elif self._tables == 1:
            if name == "tr":
                self._row, self._is_header = [], False
            else:
                self.builder.begin_cell()
                self._is_merged = False

    def _end_table(self, name: str) -> None:
        if name == "tbl":
            self._tables -= 1
            if not self._tables:
                self._table.end()
                self.builder.separate(PARAGRAPH)
        elif self._tables > 1:  # a table in a cell is text of the cell
            self.builder.separate(" ")
        elif name == "tc":
            cell = self.builder.end_cell()
            self._row.append([] if self._is_merged else joined(cell))
            self._limits.refuse("cells", len(self._row), "cells of tables")
        elif name == "tr":
            self._end_row()

    def _end_row(self) -> None:
        self._table.row(self._row, is_header=self._is_header and self._table.header is None)
        for _ in range(self._pages):
            self.builder.page()
        self._pages = 0
