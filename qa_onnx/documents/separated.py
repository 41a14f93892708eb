"""CSV and TSV -> a line for each row, "name: cell, name: cell.", by the names in the first row.

In lines like these the default model finds most answers: 35 of 50 in four small tables, 13 in the CSV itself, 7
where tabs separate the cells (tests/documents/test_separated.py has two of these questions). The origin holds row
and column of each cell.

Left out: tables without a header, whose first row is taken for one.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from qa_onnx.data.csv_rows import csv_rows
from qa_onnx.documents.text_builder import Piece, Table, TextBuilder, one_line
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx.documents.document import Origin
    from qa_onnx.documents.limits import Limits

_DELIMITERS = ",;\t|"


def table_text(source: str, limits: Limits, *, delimiter: str | None = None) -> tuple[str, Origin]:
    """Return the text of a table and its origin.

    Args:
        source: the decoded file.
        limits: `cells` and `characters` are held.
        delimiter: between cells; None: the one that the first line has most of.

    Raises:
        InputError: the quotes of a cell are not closed, or a cell has more than 131,072 characters.
    """
    if delimiter is None:
        first = source[: source.find("\n") + 1 or None]
        delimiter = max(_DELIMITERS, key=first.count)
    builder = TextBuilder(limits)
    table = Table(builder)
    count = number = 0  # of cells and rows; a blank line is no row
    for _, row, problem in csv_rows(_lines(source, delimiter, limits), delimiter):
        if problem:
            remedy = 'double the quotes in a cell, as in "say ""yes""", or save the table as text'
            raise InputError(problem, remedy=remedy)
        count += max(1, len(row))
        limits.refuse("cells", count, "cells of tables")  # before there is a piece for each
        number += bool(row)
        cells = [[Piece(one_line(cell), number, column)] for column, cell in enumerate(row, 1)]
        if any(cell[0].text for cell in cells):
            table.row(cells, is_header=table.header is None)
    table.end()
    return builder.finish()


def _lines(source: str, delimiter: str, limits: Limits) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(io.StringIO(source, newline=""), 1):
        limits.refuse("cells", line.count(delimiter), "cells of tables")  # before there is a text for each
        yield number, line
