"""Documents that are damaged, or made to harm: each is read, or refused with an error of the package."""

from __future__ import annotations

import contextlib
import io
import random
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from qa_onnx import InputError
from qa_onnx.documents import DocumentReader, Limits, read_document_bytes
from tests.documents.made import WORDS, paragraph, pdf, plain_pdf, word_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow
LIMITS = Limits(seconds=20, unpacked_bytes=8 << 20, characters=1_000_000, cells=10_000)


@pytest.fixture(scope="module")
def bounded() -> Iterator[DocumentReader]:
    pytest.importorskip("pypdfium2")
    pytest.importorskip("selectolax")
    pytest.importorskip("fpdf")
    with DocumentReader(LIMITS) as one:
        yield one


@pytest.fixture(scope="module")
def words() -> Iterator[DocumentReader]:
    with DocumentReader(LIMITS) as one:
        yield one


def flat_bomb() -> bytes:
    packed = zlib.compress(b"(x) Tj " * 2_000_000, 9).decode("latin-1")
    head = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>"
    stream = f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n{packed}\nendstream"
    return b"".join(part.encode("latin-1") for part in ("%PDF-1.4\n", *objects([*head, page, stream])))


def objects(contents: list[str]) -> list[str]:
    return [f"{number} 0 obj\n{content}\nendobj\n" for number, content in enumerate(contents, 1)]


def form_that_draws_itself() -> bytes:
    form = "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /A 4 0 R >> >> /Length 5 >>"
    return plain_pdf(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            "<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /XObject << /A 4 0 R >> >> >>",
            f"{form}\nstream\n/A Do\nendstream",
        ]
    )


def deep_array() -> bytes:
    return plain_pdf(
        ["<< /Type /Catalog /Pages 2 0 R /X " + "[" * 100_000 + "]" * 100_000 + " >>", "<< /Kids [] >>"]
    )


PDFS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"%PDF-1.7",
    "cut": lambda: pdf("some text here")[:400],
    "noise": lambda: b"%PDF-1.7\n" + random.Random(1).randbytes(50_000),
    "pages in a circle": lambda: plain_pdf(
        ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R] /Count 9 /Parent 2 0 R >>"]
    ),
    "a catalog that is its pages": lambda: plain_pdf(["<< /Type /Catalog /Pages 1 0 R /Kids [1 0 R] /Count 3 >>"]),
    "an object that is itself": lambda: plain_pdf(["1 0 R"]),
    "a count without pages": lambda: plain_pdf(
        ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] /Count 2000000000 >>"]
    ),
    "a table in a circle": lambda: plain_pdf(["<< >>"]).replace(b"/Root 1 0 R", b"/Root 1 0 R /Prev 9"),
    "arrays in arrays": deep_array,
    "a stream that grows": flat_bomb,
    "a form that draws itself": form_that_draws_itself,
}


@pytest.mark.parametrize("name", PDFS)
def test_pdfs_are_refused(bounded: DocumentReader, name: str) -> None:
    with pytest.raises(InputError, match=r"a\.pdf: "):
        bounded.read_bytes(PDFS[name](), "a.pdf")


def test_changed_pdfs_are_read_or_refused(bounded: DocumentReader) -> None:
    chance, whole = random.Random(2), pdf("some text here", "and there")
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 40)):
            data[chance.randrange(8, len(data))] = chance.randrange(256)
        _read(bounded, bytes(data), "a.pdf")


def lying_size() -> bytes:
    """An archive whose directory says that the text has 10 bytes."""
    data = bytearray(word_archive(paragraph("x" * 5_000_000)))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    return bytes(data)


def encrypted() -> bytes:
    data = bytearray(word_archive(paragraph("x")))
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(mark) + place] |= 1
    return bytes(data)


def wrong_sum() -> bytes:
    data = word_archive(paragraph("abcdefgh"), compression=zipfile.ZIP_STORED)
    return data.replace(b"abcdefgh", b"abcdefgx", 1)


def many_files() -> bytes:
    out = io.BytesIO(word_archive(paragraph("x")))
    with zipfile.ZipFile(out, "a") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}", b"")
    return out.getvalue()


def row_of(cells: int) -> str:
    return "<w:tr>" + "<w:tc><w:p/></w:tc>" * cells + "</w:tr>"


LAUGHS = '<!DOCTYPE w [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE w [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
WORD_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut": (lambda: word_archive(paragraph("x" * 999))[:-90], "damaged or encrypted"),
    "a wrong checksum": (wrong_sum, "damaged or encrypted"),
    "encrypted": (encrypted, "damaged or encrypted"),
    "a bomb": (
        lambda: word_archive(paragraph("x" * 9_000_000)),
        "more than 8,388,608 bytes of text parts, unpacked",
    ),
    "a bomb that lies": (lying_size, "damaged"),
    "too much text": (lambda: word_archive(paragraph("xy" * 600_000)), "more than 1,000,000 characters"),
    "many files": (many_files, "more than 10,000 files"),
    "many laughs": (lambda: word_archive(paragraph("&c;"), before=LAUGHS), "declares a document type"),
    "a file outside": (lambda: word_archive(paragraph("&a;"), before=OUTSIDE), "declares a document type"),
    "deep": (lambda: word_archive("<w:p>" * 100_000), "more than 500 elements inside of each other"),
    "a wide row": (lambda: word_archive(f"<w:tbl>{row_of(10_001)}</w:tbl>"), "more than 10,000 cells"),
    "many rows": (
        lambda: word_archive(f"<w:tbl>{row_of(1).replace('<w:p/>', paragraph('x')) * 10_001}</w:tbl>"),
        "more than 10,000 cells",
    ),
    "no XML": (lambda: word_archive("<w:p>&"), "damaged XML"),
    "an entity that is not declared": (lambda: word_archive(paragraph("&x;")), "damaged XML"),
    "no document in it": (
        lambda: word_archive("").replace(b"word/document.xml", b"word/document.xmk", 1),
        "damaged|holds no|ZIP archive|Word",
    ),
}


@pytest.mark.parametrize("name", WORD_FILES)
def test_word_documents_are_refused(name: str, words: DocumentReader) -> None:
    make, message = WORD_FILES[name]
    with pytest.raises(InputError, match=message):
        words.read_bytes(make(), "a.docx")


def test_word_documents_with_merged_cells_without_end_are_read(words: DocumentReader) -> None:
    wide = f'<w:tr><w:tc><w:tcPr><w:gridSpan w:val="2000000000"/></w:tcPr>{paragraph("wide")}</w:tc></w:tr>'
    tall = f"<w:tr><w:tc><w:tcPr><w:vMerge/></w:tcPr>{paragraph('no')}</w:tc></w:tr>" * 5000
    assert words.read_bytes(word_archive(f"<w:tbl>{wide}{tall}</w:tbl>"), "a.docx").text == "wide"
    odd = word_archive(paragraph("x")).replace(WORDS.encode(), b"http://other", 1)
    _read(words, odd, "a.docx")


def test_changed_word_documents_are_read_or_refused(words: DocumentReader) -> None:
    chance, whole = random.Random(3), word_archive(paragraph("text") * 9, compression=zipfile.ZIP_STORED)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(4, len(data))] = chance.randrange(256)
        _read(words, bytes(data), "a.docx")


TEXTS: dict[str, tuple[str, str]] = {
    "deep elements": ("a.html", "<div>" * 10_000 + "x"),
    "deep lists": ("a.html", "<ul><li>" * 5_000),
    "formatting that is rebuilt in each paragraph": ("a.html", "<b><i>" * 300 + "<p>" * 2_000),
    "tables in tables": ("a.html", "<table><tr><td>" * 2_000),
    "a comment without end": ("a.html", "<!--" * 50_000),
    "an attribute without end": ("a.html", "<p " + "a=b " * 50_000),
    "references": ("a.html", "&#x10FFFF;&#0;&#xD800;&notit;" * 20_000),
    "brackets": ("a.md", "[" * 20_000),
    "links": ("a.md", "[a](" * 5_000),
    "stars": ("a.md", "*a **b " * 5_000),
    "quotes in quotes": ("a.md", ">" * 20_000 + "a"),
    "lists in lists": ("a.md", "- " * 5_000 + "a"),
    "backticks": ("a.md", "".join("`" * count + "a" for count in range(500))),
    "a wide table": ("a.md", "|a" * 5_000 + "\n" + "|-" * 5_000 + "\n" + "|b" * 5_000),
    "tags": ("a.md", "<a" * 20_000 + "\n\n<!--\n" + "<div\n" * 5_000),
    "a quote without end": ("a.csv", 'a,b\n"' + "x" * 100_000),
    "a wide row": ("a.csv", "a," * 20_000 + "\n" + "b," * 20_000),
    "blank lines": ("a.csv", "a,b\r" + "\r" * 100_000),
    "empty cells": ("a.csv", "a,b\n" + "," * 9_000_000),
    "empty rows": ("a.csv", "a,b\n" + ",\n" * 3_000_000),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_read_or_refused(bounded: DocumentReader, name: str) -> None:
    file, text = TEXTS[name]
    _read(bounded, text.encode(), file)


def test_a_parser_that_takes_too_long_is_ended_and_the_next_document_read() -> None:
    pytest.importorskip("selectolax")
    with DocumentReader(Limits(seconds=1)) as reader:
        with pytest.raises(InputError, match="more than 1 seconds: split it, or in Python raise Limits"):
            reader.read_bytes(b"<div>" * 300_000, "a.html")
        assert reader.read_bytes(b"<p>a", "b.html").text == "a"


def test_a_parser_that_needs_too_much_memory_is_ended() -> None:
    with DocumentReader(Limits(memory_bytes=400 << 20)) as reader:
        with pytest.raises(InputError, match="crashed, or filled its 419,430,400 bytes of memory"):
            reader.read_bytes(b"*a* `b` " * 400_000, "a.md")
        assert reader.read_bytes(b"a", "b.md").text == "a"


@pytest.mark.parametrize(
    ("program", "message"), [("/bin/false", "did not start"), ("/none", "cannot start: No such")]
)
def test_one_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch, program: str, message: str) -> None:
    monkeypatch.setattr("sys.executable", program)
    with pytest.raises(InputError, match=message):
        read_document_bytes(b"a", "a.md")


def _read(reader: DocumentReader, data: bytes, name: str) -> None:
    with contextlib.suppress(InputError):
        assert len(reader.read_bytes(data, name).text) <= LIMITS.characters
