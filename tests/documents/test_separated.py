"""CSV and TSV, as Python's own writer makes them; and what the default model answers."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import InputError, Reader
from qa_onnx.documents import Limits, read_document_bytes

# Control characters make it a binary file; and other spaces of Unicode stay as they are.
CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufeff"), max_size=8)
CELL = CELL | st.sampled_from(["a\nb", 'say "yes"', "a, b; c|d\te"])


def test_a_row_is_a_line_of_names_and_cells() -> None:
    document = read_document_bytes(b'name,role\nAna,"boss,\nchief"\n\nBen,\n,\nCleo,why?\nD,e,f\n', "a.csv")
    lines = ["name: Ana, role: boss, chief.", "name: Ben.", "name: Cleo, role: why?", "D\te\tf"]
    assert document.text.split("\n") == lines
    start = document.text.index("chief")
    assert document.cell(start, start + 5) == (2, 2)
    assert document.cell(0, 4) is None
    assert document.source_range(start, start + 5) is None


@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("|", "a.csv"), ("\t", "a.tsv")])
@given(rows=st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=5))
def test_each_cell_is_in_the_text_with_its_place(delimiter: str, name: str, rows: list[list[str]]) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter)
    writer.writerows([["one", "two"], *rows])
    document = read_document_bytes(sink.getvalue().encode(), name)
    assert document.origin is not None
    places = {
        (row, column): document.text[start:end]
        for row, column, start, end in zip(
            document.origin.sources,
            document.origin.lengths,
            document.origin.starts,
            document.origin.ends,
            strict=True,
        )
    }
    expected = {
        (number, column): cell
        for number, row in enumerate(rows, 2)
        for column, cell in enumerate(row, 1)
        if cell.strip(" \t\n\r\f\v")
    }
    if rows:
        assert {key: "".join(cell.split()) for key, cell in places.items() if key[0] > 1} == {
            key: "".join(cell.split()) for key, cell in expected.items()
        }


def test_a_table_of_a_header_alone_is_its_names() -> None:
    assert read_document_bytes(b"one,two\n", "a.csv").text == "one\ttwo"
    assert read_document_bytes(b"", "a.csv").text == ""


def test_what_is_no_table() -> None:
    with pytest.raises(InputError, match="line 2: expected a row of a table"):
        read_document_bytes(b'a,b\n"x"y,2\n', "a.csv")
    with pytest.raises(InputError, match="field larger than field limit"):
        read_document_bytes(b'a,b\n"' + b"x" * 200_000 + b'",2\n', "a.csv")
    with pytest.raises(InputError, match="more than 3 cells of tables"):
        read_document_bytes(b"a,b\n1,2\n3,4\n", "a.csv", limits=Limits(cells=3))


@pytest.mark.slow
def test_the_default_model_answers_from_rows() -> None:
    table = (
        b"name,role,office,phone\nAna Ruiz,accountant,Madrid,555-0101\n"
        b"Ben Okoro,engineer,Lagos,555-0102\nChen Wei,designer,Shanghai,555-0103\n"
    )
    text = read_document_bytes(table, "staff.csv").text
    reader = Reader.load(threads=1)
    assert reader.ask("What is the phone number of Ben Okoro?", text).text == "555-0102"
    assert reader.ask("In which office is the accountant?", text).text == "Madrid"
