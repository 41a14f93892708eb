"""Lines of a CSV or TSV table -> its rows, each with its place and what is wrong with it.

Left out: what the cells mean (tables.py, and the rooms mapping and documents).
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

from qa_onnx.errors import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_DELIMITERS = (",", "\t", ";")


class CsvRow(NamedTuple):
    """A row of a table.

    Attributes:
        line: number of its first line.
        cells: their texts; none of a blank line, and of a row that cannot be read.
        problem: why it cannot be read, with the line; empty: it can.
    """

    line: int
    cells: list[str]
    problem: str = ""


def csv_rows(lines: Iterable[tuple[int, str]], delimiter: str) -> Iterator[CsvRow]:
    """Yield the rows of a table, the header too; a row that cannot be read ends at the line where that shows.

    Args:
        lines: number and text of each line, with its end.
        delimiter: between cells.
    """
    first, last = 0, ""

    def texts() -> Iterator[str]:
        nonlocal first, last
        for number, last in lines:
            first = first or number
            yield last

    table = csv.reader(texts(), delimiter=delimiter, strict=True)
    while True:
        first = 0
        try:
            cells = next(table, None)
        except csv.Error as error:  # quotes that are not closed, or a cell of more than 131,072 characters
            yield CsvRow(first, [], f"line {first}: expected a row of a table, not {quoted(last)} ({error})")
            continue
        if cells is None:
            return
        yield CsvRow(first, cells)


def delimiter_where(header: str, fits: Callable[[list[str]], bool]) -> str | None:
    """Return the delimiter with which the names in the first line of a table are those that are wanted; or None.

    Args:
        header: the line.
        fits: tells of the names whether they are wanted.
    """
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([header], delimiter=delimiter), [])
        except csv.Error:
            continue
        if fits(names):
            return delimiter
    return None
