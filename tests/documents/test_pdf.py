"""PDFs that fpdf2 writes."""

from __future__ import annotations

import pytest

from qa_onnx import InputError
from qa_onnx.documents import DocumentReader, Limits, read_document_bytes
from tests.documents import made

pytest.importorskip("pypdfium2")
pytest.importorskip("fpdf")

LONG = "The keeper of the lighthouse is Agnes Halloran, who came from a town in the very north of the country."


def test_pages_paragraphs_and_lines(reader: DocumentReader) -> None:
    document = reader.read_bytes(made.pdf(f"{LONG}\n\nShe built it.", "", "Third page"), "a.pdf")
    first, second, third = document.text.split("\n\f")
    paragraphs = [" ".join(part.split("\n")) for part in first.split("\n\n")]
    assert paragraphs == [LONG, "She built it."]
    assert (second, third) == ("", "Third page")
    assert document.page(document.text.index("Third")) == 3
    assert document.source_range(0, 3) is None


def test_a_word_that_is_divided_at_the_end_of_a_line_is_one(reader: DocumentReader) -> None:
    assert "lighthouse" in reader.read_bytes(made.pdf("The light-\nhouse is tall."), "a.pdf").text


def test_an_encrypted_one_says_how_to_decrypt_it(reader: DocumentReader) -> None:
    data = made.pdf("secret", owner_password="a", user_password="b")
    with pytest.raises(InputError, match=r"a\.pdf: the PDF is encrypted: take the password off: qpdf --decrypt"):
        reader.read_bytes(data, "a.pdf")


def test_one_without_text_is_an_error(reader: DocumentReader) -> None:
    with pytest.raises(InputError, match=r"no text: its pages \(2\) are scanned images, or empty: let OCR"):
        reader.read_bytes(made.pdf("", ""), "scan.pdf")


def test_too_many_pages() -> None:
    data = made.pdf("a", "b", "c")
    with pytest.raises(
        InputError, match=r"more than 2 pages: split it, or in Python raise Limits\(pages=\.\.\.\)"
    ):
        read_document_bytes(data, "a.pdf", limits=Limits(pages=2))
    with pytest.raises(InputError, match="more than 4 characters"):
        read_document_bytes(data, "a.pdf", limits=Limits(characters=4))
