"""Which kind a file is, plain text, what is refused, and what the extra's absence says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from qa_onnx import InputError, MissingExtraError
from qa_onnx.documents import DocumentReader, Limits, read_document, read_document_bytes
from qa_onnx.machine import packages
from tests.documents import made

if TYPE_CHECKING:
    from pathlib import Path


@given(st.text(st.characters(codec="utf-8"), max_size=60).filter(lambda text: not text.startswith("\ufeff")))
def test_plain_text_stays_as_it_is(text: str) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        try:
            document = read_document_bytes(mark + text.encode(), "a.txt")
        except InputError:  # the first characters say that it is another kind of file
            return
        assert document.text == text
        assert document.source_range(0, len(text)) == ((0, len(text)) if text else None)


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b"# A", "a.md", "markdown"),
        (b"# A", "a.MARKDOWN", "markdown"),
        (b"# A", "a", "text"),
        (b"# A", "a.rst", "text"),
        (b"<p>A", "a.htm", "html"),
        (b" <!DOCTYPE html><p>A", "a", "html"),
        (b"<!DOCTYPE html><p>A", "a.txt", "text"),
        (b"a,b\n1,2", "a.csv", "csv"),
        (b"a\tb\n1\t2", "a.tsv", "tsv"),
        (made.word_archive(made.paragraph("A")), "a.txt", "docx"),
        (b"about %PDF-1.7", "a.txt", "text"),
    ],
)
def test_kinds(reader: DocumentReader, data: bytes, name: str, kind: str) -> None:
    pytest.importorskip("selectolax")
    document = reader.read_bytes(data, name)
    assert document.kind == kind
    assert document.text[0] in "Aa#<"


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        ("à propos".encode("utf-16"), "a.txt", r"a\.txt is UTF-16 text, not UTF-8 text: convert it first: iconv"),
        ("à".encode("latin-1") * 9, "a.md", r"a\.md is not UTF-8 text"),
        (b"\x89PNG\r\n", "a.png", "PNG image.*OCR"),
        (b"PK\x03\x04...xl/workbook.xml", "a.xlsx", "Excel"),
        (b"\x00\x01\x02" * 30, "a.bin", "plain text, Markdown, HTML, PDF, DOCX, CSV and TSV are read"),
        (b"hello", "a.pdf", "not that of a .pdf file"),
        (b"hello", "a.docx", "not that of a .docx file"),
    ],
)
def test_what_is_no_document_is_named(data: bytes, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_document_bytes(data, name)


def test_a_file_has_the_name_that_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text", encoding="utf-8")
    assert read_document(path).name == str(path)
    assert read_document(str(path), name="b").name == "b"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a folder"):
        read_document(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        read_document(tmp_path / "none.txt")
    with pytest.raises(InputError, match="characters that no path can have"):
        read_document("a\0b")
    with pytest.raises(InputError, match="bytes and a str"):
        read_document_bytes("text", "a.txt")  # type: ignore[arg-type]
    path = tmp_path / "long.txt"
    path.write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"has 100 bytes; the limit is 99"):
        read_document(path, limits=Limits(file_bytes=99))
    with pytest.raises(InputError, match=r"a.txt: the document has more than 99 bytes"):
        read_document_bytes(b"x" * 100, "a.txt", limits=Limits(file_bytes=99))
    with pytest.raises(InputError, match="99 characters"):
        read_document(path, limits=Limits(characters=99))
    with pytest.raises(InputError) as caught:
        read_document(path, limits=Limits(characters=99))
    assert caught.value.limit == "characters"


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9", None])
def test_limits_are_whole_numbers(value: object) -> None:
    with pytest.raises(InputError, match="pages is"):
        Limits(pages=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "package"), [("a.pdf", "pypdfium2"), ("a.html", "selectolax")])
def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    pytest.importorskip("selectolax")
    pytest.importorskip("pypdfium2")
    found = packages.version
    monkeypatch.setattr(packages, "version", lambda one: None if one == package else found(one))
    needs = packages.needs
    extra = [Requirement(one) for one in ("pypdfium2", "selectolax")]
    monkeypatch.setattr(packages, "needs", lambda one="": extra if one == "documents" else needs(one))
    data = b"%PDF-1.4" if name == "a.pdf" else b"<p>"
    with pytest.raises(MissingExtraError, match=rf"{package} not installed: pip install 'qa-onnx\[documents\]'"):
        read_document_bytes(data, name)
    assert read_document_bytes(b"# A", "a.md").text == "A"


def test_a_reader_may_be_used_after_it_was_closed_and_forgets_a_parser_that_was_killed() -> None:
    with DocumentReader() as reader:
        assert reader.read_bytes(b"*a*", "a.md").text == "a"
        reader.close()
        assert reader.read_bytes(b"*b*", "a.md").text == "b"
        process = reader._process._process
        assert process is not None
        process.kill()
        process.wait()
        assert reader.read_bytes(b"*c*", "a.md").text == "c"
        process = reader._process._process
        assert process is not None
    assert process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
