"""A PDF -> its text, with a page break after each page, and a blank line where a line stands far below the last.

The parser is PDFium, by pypdfium2: that of Chromium, which is fuzzed day and night, and reads damaged files. pypdf
7.1, in Python, takes 3.7 times as long for 200 pages of text, and many of its releases mend endless work on
crafted files. PDFium runs in a process of its own (parser_process.py) all the same.

Left out: text in images (OCR), forms and annotations, the order of columns beyond what PDFium finds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qa_onnx.documents.text_builder import LINE, PARAGRAPH, Piece, TextBuilder
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from qa_onnx.documents.limits import Limits

_FAR = 1.5  # line heights from line to line that begin a paragraph
# PDFium joins a word that was divided at the end of a line, and leaves this in place of the hyphen.
_DIVIDED = re.compile("[\u0002\ufffe\u00ad]")
_UNENCODED = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile("[\0\r\f\v]+")


def pdf_text(data: bytes, limits: Limits) -> str:
    """Return the text of a PDF.

    Raises:
        InputError: it is damaged or encrypted, has too many pages, or no text.
    """
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise InputError(
                "the PDF is encrypted",
                remedy="take the password off: qpdf --decrypt --password=... in.pdf out.pdf",
            ) from error
        raise InputError(f"damaged PDF ({error})", remedy="fetch or save it again") from error
    limits.refuse("pages", len(pdf), "pages")
    builder = TextBuilder(limits)
    unread = 0
    for number in range(len(pdf)):
        if number:
            builder.page()
        try:
            page = pdf[number]
            text_page = page.get_textpage()
        except pypdfium2.PdfiumError:  # the others may be whole
            unread += 1
            continue
        _write_page(builder, text_page)
        text_page.close()
        page.close()
    text, _ = builder.finish()
    if not text.strip():
        if unread or not len(pdf):
            raise InputError(
                f"damaged PDF: none of its {len(pdf)} pages can be read", remedy="fetch or save it again"
            )
        raise InputError(
            f"the PDF has no text: its pages ({len(pdf)}) are scanned images, or empty",
            remedy="let OCR add the text, as in: ocrmypdf in.pdf out.pdf",
        )
    return text


def _write_page(builder: TextBuilder, page: Any) -> None:
    last: tuple[float, float] | None = None  # bottom and height of the last line
    at = 0
    text = page.get_text_range()
    exact = len(text) == page.count_chars()  # else indices of characters are not those of the text
    for line in text.split("\n"):
        content = _BLANKS.sub(" ", _UNENCODED.sub("\ufffd", _DIVIDED.sub("", line))).strip()
        if content:
            place = _place(page, at + len(line) - len(line.lstrip())) if exact else None
            far = place and last and last[0] - place[0] > _FAR * max(place[1], last[1])
            builder.separate(PARAGRAPH if far else LINE)
            builder.write(Piece(content))
            last = place
        at += len(line) + 1


def _place(page: Any, index: int) -> tuple[float, float] | None:
    """Return bottom and height of the line of a character."""
    try:
        _, bottom, _, top = page.get_charbox(index, loose=True)
    except (ValueError, RuntimeError, IndexError):
        return None
    return bottom, top - bottom
