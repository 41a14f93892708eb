"""CSV, TSV and Parquet -> records: a row is a question, a column is a field of it.

Answers may be a cell of text, of JSON, or of Python's own form, as pandas writes lists and arrays; the hub's
Parquet has {"text": [...], "answer_start": [...]}. Parquet needs pyarrow (extra `data`). Label Studio's CSV has
the columns of its JSON_MIN.

Left out: Excel's files, which file_kinds names.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from typing import TYPE_CHECKING, Any

from qa_onnx.data.csv_rows import csv_rows, delimiter_where
from qa_onnx.data.packed import MAX_BYTES
from qa_onnx.data.records import ANSWERS, Record
from qa_onnx.data.shapes import records_of
from qa_onnx.errors import InputError, quoted
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NEEDED = {"question", "context"}
_LABEL_STUDIO = {"question", "text", "annotation_id"}
_READ = ("id", "qid", "guid", "question_id", "title", *_NEEDED, *ANSWERS, "answer_start", "is_impossible")
_MISSING = {"", "nan", "none", "null", "na", "<na>"}  # cells of optional fields, in any case
_DIGITS = 19  # of the least number that is no place in any text
_CHUNK = 1000  # rows that become Python objects at a time


def delimiter_of(header: str) -> str | None:
    """Return what separates the columns of a header with a question and a context; None: it is no such header."""
    return delimiter_where(header, _has_questions)


def _has_questions(header: list[str]) -> bool:
    names = set(map(_name, header))
    return names >= _NEEDED or names >= _LABEL_STUDIO


def _name(cell: str) -> str:
    return cell.strip().casefold()


def from_csv(lines: Iterable[tuple[int, str]], delimiter: str) -> Iterator[Record]:
    """Yield the rows of a CSV or TSV table.

    Args:
        lines: number and text of each line, the header first.
        delimiter: between the columns.

    Raises:
        InputError: the quotes of a cell are not closed, or a cell has more than 131,072 characters.
    """
    names: list[str] = []
    for line, row, problem in csv_rows(lines, delimiter):
        if problem:
            remedy = 'double the quotes in a cell, as in "say ""yes""", and write longer texts as JSON lines'
            raise InputError(problem, remedy=remedy)
        if not names:
            names = list(map(_name, row))
        elif len(row) == len(names):
            cells = dict(zip(names, row, strict=True))
            read = _exported_row if cells.keys() >= _LABEL_STUDIO else _row
            yield from read(f"line {line}", cells)
        elif row:
            wrong = f"expected {len(names)} cells, as in the header, not {len(row)}: {quoted(row)}"
            yield Record(f"line {line}", problem=wrong)


def _exported_row(place: str, cells: dict[str, str]) -> Iterator[Record]:
    """Read a row of Label Studio: a cell of JSON holds what is marked."""
    return records_of({name: _json(cell) if cell.startswith("[") else cell for name, cell in cells.items()}, place)


def _json(cell: str) -> object:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _row(place: str, cells: dict[str, str]) -> Iterator[Record]:
    fields: dict[str, Any] = {}
    for name, cell in cells.items():
        is_text = name in _NEEDED or name in ANSWERS
        if not is_text and cell.casefold() in _MISSING:
            continue
        fields[name] = cell
        if name == "answer_start" and cell.isdecimal() and len(cell) < _DIGITS:
            fields[name] = int(cell)  # all cells are text, so this is no repair
        elif name in (*ANSWERS, "answer_start") and cell.startswith(("{", "[")):
            try:
                fields[name] = _value(cell)
            except ValueError as error:
                if cell not in cells["context"]:  # such as "[1] the mill"
                    yield Record(place, problem=f'"{name}": {error}')
                    return
    yield Record(place, fields)


def _value(cell: str) -> object:
    """Return the list or object that a cell holds.

    Raises:
        ValueError: it holds none.
    """
    value = _json(cell)
    if not isinstance(value, str):
        return value
    try:
        _refuse_joined(cell)
        return ast.literal_eval(_Arrays().visit(ast.parse(cell, mode="eval")))
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise ValueError(
            f"expected a list or an object, as JSON or Python write it, not {quoted(cell)}"
        ) from error


class _Arrays(ast.NodeTransformer):
    """Replaces array([...], dtype=...), as NumPy writes arrays, by the list in it."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Return the first argument of `array`; any other call stays, and is refused later."""
        is_array = isinstance(node.func, ast.Name) and node.func.id == "array" and len(node.args) == 1
        return node.args[0] if is_array else node


def _refuse_joined(cell: str) -> None:
    """Refuse ['a' 'b'], an array that was printed: Python would read it as one text."""
    before = None
    for token in tokenize.generate_tokens(io.StringIO(cell).readline):
        if token.type == tokenize.STRING == before:
            raise ValueError
        if token.type != tokenize.NL:
            before = token.type


def from_parquet(data: bytes) -> Iterator[Record]:
    """Yield the rows of a Parquet table; only the columns that are read are unpacked.

    Raises:
        MissingExtraError: the extra `data` is not installed.
        InputError: it is damaged, too large, or has no question or context.
    """
    require("data")
    import pyarrow
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(pyarrow.BufferReader(data))
        names = [name for name in schema.names if name in _READ]
        if not set(names) >= _NEEDED:
            raise InputError(
                f'expected the columns "question" and "context", but the table has {quoted(schema.names)}'
            )
        # A text that many rows share is kept once, so that the memory is bounded by what the file unpacks to.
        texts = [name for name in names if pyarrow.types.is_string(schema.field(name).type)]
        file = parquet.ParquetFile(pyarrow.BufferReader(data), read_dictionary=texts)
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > MAX_BYTES:
            raise InputError(f"it unpacks to more than {MAX_BYTES} bytes", remedy="split the file")
        tables = (file.read_row_group(number, columns=names) for number in range(file.num_row_groups))
        rows = (
            zip(names, row, strict=True)
            for table in tables
            for row in zip(*map(_values, table.select(names).itercolumns()), strict=True)
        )
        for number, row in enumerate(rows, 1):
            yield Record(f"row {number}", dict(row))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # names and texts may be damaged, too
        raise InputError(f"damaged Parquet ({error})", remedy="fetch it again") from error


def _values(column: Any) -> Iterator[object]:
    """Yield the values of a column as Python objects; those of a dictionary are shared between rows."""
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary"):
            chunk.validate(full=True)  # indices of a damaged file may lie outside of it
            texts = chunk.dictionary.to_pylist()
            yield from (None if index is None else texts[index] for index in chunk.indices.to_pylist())
        else:
            for start in range(0, len(chunk), _CHUNK):
                yield from chunk.slice(start, _CHUNK).to_pylist()
