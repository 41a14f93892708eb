"""Word documents: those of python-docx, and XML that it does not write."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx.documents import Limits
from qa_onnx.documents.docx import docx_text
from tests.documents.made import WORDS, paragraph, word_archive


def text_of(data: bytes) -> str:
    return docx_text(data, Limits())


def test_what_python_docx_writes() -> None:
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "no"
    document.add_heading("The mill", 1)
    document.add_paragraph("Built by Ana\tand\nBen.").add_run(" Tall.").bold = True
    for item in ("wheat", "rye"):
        document.add_paragraph(item, style="List Bullet")
    document.add_paragraph("After")
    table = document.add_table(3, 2)
    for cell, value in zip((*table.rows[0].cells, *table.rows[1].cells), "abcd", strict=True):
        cell.text = value
    table.cell(0, 0).merge(table.cell(1, 0))
    table.cell(2, 0).merge(table.cell(2, 1)).text = "wide"
    document.add_page_break()
    document.add_paragraph("Page two")
    sink = io.BytesIO()
    document.save(sink)
    assert text_of(sink.getvalue()) == (
        "The mill\n\nBuilt by Ana\tand\nBen. Tall.\n\nwheat\nrye\n\nAfter\n\na c\tb\n\td\nwide\n\fPage two"
    )


@pytest.mark.slow
@settings(max_examples=20)
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=9), max_size=6)
)
def test_paragraphs_are_those_of_python_docx(texts: list[str]) -> None:
    docx = pytest.importorskip("docx")
    texts = [text for text in texts if text not in {"\ufffe", "\uffff"} and not set(text) & {"\ufffe", "\uffff"}]
    document = docx.Document()
    for text in texts:
        document.add_paragraph(text)
    sink = io.BytesIO()
    document.save(sink)
    assert text_of(sink.getvalue()) == "\n\n".join(texts)


def test_text_that_python_docx_leaves_out() -> None:
    inserted = (
        "<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>"
    )
    control = f"<w:sdt><w:sdtContent>{paragraph('control')}</w:sdtContent></w:sdt>"
    assert text_of(word_archive(inserted + control)) == "new\n\ncontrol"


def test_a_header_row_names_the_cells() -> None:
    def row(properties: str, *cells: str) -> str:
        return (
            f"<w:tr><w:trPr>{properties}</w:trPr>"
            + "".join(f"<w:tc>{paragraph(one)}</w:tc>" for one in cells)
            + "</w:tr>"
        )

    header = row("<w:tblHeader/>", "name", "age")
    assert text_of(word_archive(f"<w:tbl>{header}{row('', 'Ana', '41')}</w:tbl>")) == "name: Ana, age: 41."
    assert text_of(word_archive(f"<w:tbl>{header}</w:tbl>")) == "name\tage"


def test_page_breaks_that_word_stored_count_once() -> None:
    run = '<w:r><w:br w:type="page"/></w:r><w:r><w:lastRenderedPageBreak/><w:t>two</w:t></w:r>'
    later = "<w:r><w:lastRenderedPageBreak/><w:t>three</w:t></w:r>"
    in_table = f"<w:tbl><w:tr><w:tc><w:p>{later}</w:p></w:tc></w:tr></w:tbl>"
    text = text_of(word_archive(f"{paragraph('one')}<w:p>{run}</w:p>{in_table}{paragraph('four')}"))
    assert text == "one\n\ftwo\n\nthree\n\ffour"


def test_footnotes_stand_at_the_end_and_a_second_copy_for_old_programs_is_left_out() -> None:
    notes = f'<w:footnotes xmlns:w="{WORDS}"><w:footnote>{paragraph("note")}</w:footnote></w:footnotes>'
    space = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    twice = (
        f'<mc:AlternateContent xmlns:mc="{space}"><mc:Choice>{paragraph("box")}</mc:Choice>'
        f"<mc:Fallback>{paragraph('box')}</mc:Fallback></mc:AlternateContent>"
    )
    assert text_of(word_archive(twice + paragraph("end"), footnotes=notes.encode())) == "box\n\nend\n\nnote"
