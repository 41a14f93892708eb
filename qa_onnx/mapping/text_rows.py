"""JSON lines, CSV and TSV -> record batches with question and context, and answered batches -> the same lines.

A batch has beside the texts what is needed to write the row again: its source, which stays byte for byte as it is
in JSON lines, and cell for cell in a table. A row that cannot be read is there too, with its problem.

Left out: JSON documents, whose rows are not lines (`ask --input` reads them).
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from qa_onnx.data.csv_rows import csv_rows, delimiter_where
from qa_onnx.data.file_kinds import refuse_other_kinds
from qa_onnx.data.packed import unpacked
from qa_onnx.data.read import MARK, numbered_lines, parsed
from qa_onnx.data.records import is_absent, text_of
from qa_onnx.errors import InputError, quoted, shown, with_name
from qa_onnx.machine.files import BUFFER
from qa_onnx.mapping.arrow import answer_columns
from qa_onnx.mapping.places import open_rows
from qa_onnx.mapping.plan import InputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from qa_onnx.data.csv_rows import CsvRow
    from qa_onnx.mapping.arrow import Asked

# Columns of a batch beside the texts. No other column can have such a name.
SOURCE, PLACE, PROBLEM, ID = "\0source", "\0place", "\0problem", "\0id"
_TABLE = b"qa_onnx.table"  # key in the metadata of a batch: delimiter and header of a table, JSON


@dataclass(frozen=True, slots=True)
class TextRow:
    """A row of a text file.

    Attributes:
        line: number of its first line, from 1.
        source: what is written again: a JSON object, or the cells of a table.
        fields: name -> value.
        problem: why it cannot be answered; empty: nothing is wrong so far.
    """

    line: int
    source: bytes | list[bytes]
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Lines:
    """An open file: its raw rows, not yet looked at, and what makes rows of them.

    Attributes:
        raws: the raw rows, one after the other.
        row: returns the row of a raw one.
        header: of a table; empty: the rows are JSON.
        delimiter: of a table.
    """

    raws: Iterator[Any]
    row: Callable[[Any], TextRow]
    header: list[str] = field(default_factory=list)
    delimiter: str = ""


@dataclass(frozen=True, slots=True)
class TextRows:
    """Rows of JSON lines, CSV or TSV: read and written.

    Args:
        ending: "jsonl", "csv" or "tsv".
        asked: which columns are read.
        id_column: names rows in messages; None: their lines do.
    """

    ending: str
    asked: Asked
    id_column: str | None = None

    def survey(self, name: str) -> tuple[InputFile, Any]:
        """Read a file once: count its rows and compute its SHA-256; InputError: it cannot be read.

        Returns:
            Its facts, and its schema; None for JSON lines, whose objects may have any keys.
        """
        import pyarrow

        digest = hashlib.sha256()
        try:
            with open_rows(name, digest.update) as raw:
                lines = self.opened(raw, name)
                rows = sum(1 for _ in lines.raws)
        except InputError as error:
            raise with_name(name, error) from error
        columns = tuple((column, "text") for column in lines.header)
        schema = pyarrow.schema([(column, pyarrow.string()) for column in lines.header]) if columns else None
        return InputFile(name, rows, digest.hexdigest(), columns), schema

    def cursor(self, name: str) -> TextCursor:
        """Open a file to read rows of it; InputError: it cannot be read."""
        return TextCursor(name, self)

    def opened(self, raw: io.BufferedReader[Any], name: str) -> _Lines:
        """Return the raw rows of an open file; of a table the header is read."""
        stream = unpacked(raw, bounded=False)
        refuse_other_kinds(stream.peek(BUFFER)[:BUFFER], shown(name), file=name)
        lines = _without_mark(numbered_lines(stream))
        if self.ending == "jsonl":
            filled = ((number, line) for number, line in lines if line.strip())
            return _Lines(filled, partial(_json_row, taken=answer_columns(self.asked)))
        first = next(lines, (1, b""))
        delimiter = self._delimiter(_text(first[1]))
        texts = ((number, _text(line)) for number, line in itertools.chain([first], lines))
        raws = (row for row in csv_rows(texts, delimiter) if row.cells or row.problem)
        _, header, problem = next(raws, (1, [], "the file is empty"))
        if problem:
            raise InputError(f"{shown(name)} has no header: {problem}")
        return _Lines(raws, partial(_table_row, header=header), header, delimiter)

    def _delimiter(self, header: str) -> str:
        return "\t" if self.ending == "tsv" else delimiter_where(header, set(self._wanted).issubset) or ","

    @property
    def _wanted(self) -> list[str]:
        """The columns that are read."""
        return list(dict.fromkeys([*([] if self.asked.questions else [self.asked.question]), self.asked.context]))

    def batch(self, rows: list[TextRow], lines: _Lines) -> Any:
        """Return rows as a `pyarrow.RecordBatch`; see the top of this file."""
        import pyarrow as pa

        wanted = self._wanted
        texts: dict[str, list[str | None]] = {name: [] for name in wanted}
        problems: list[str | None] = []
        for row in rows:
            problem, values = row.problem, dict.fromkeys(wanted, "")
            for name in [] if problem else wanted:
                try:
                    values[name] = _readable(row.fields, name)
                except ValueError as error:
                    problem = str(error)
                    break
            problems.append(problem or None)
            for name in wanted:
                texts[name].append(None if problem else values[name])
        source = pa.list_(pa.binary()) if lines.header else pa.binary()
        columns = {
            **{name: pa.array(values, pa.string()) for name, values in texts.items()},
            SOURCE: pa.array([row.source for row in rows], source),
            PLACE: pa.array([f"line {row.line}" for row in rows], pa.string()),
            PROBLEM: pa.array(problems, pa.string()),
            ID: pa.array([self._id(row) for row in rows], pa.string()),
        }
        table = json.dumps([lines.delimiter, lines.header])
        schema = pa.schema([(name, column.type) for name, column in columns.items()], metadata={_TABLE: table})
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)

    def _id(self, row: TextRow) -> str | None:
        value = None if self.id_column is None else row.fields.get(self.id_column)
        return None if is_absent(value) else quoted(value)

    def write(self, file: IO[bytes], batches: Iterable[Any]) -> None:
        """Write answered batches, which came of a cursor, as lines of their form."""
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        for number, batch in enumerate(batches):
            sources = batch.column(SOURCE).to_pylist()
            names = batch.schema.names[batch.schema.names.index(ID) + 1 :]
            answers = batch.select(names).to_pylist()
            if self.ending == "jsonl":
                text.writelines(map(_joined, sources, answers, batch.column(PROBLEM).to_pylist()))
                continue
            delimiter, header = json.loads(batch.schema.metadata[_TABLE])
            table = csv.writer(text, delimiter=delimiter, lineterminator="\n")
            if number == 0:
                table.writerow([*header, *names])
            for cells, answer in zip(sources, answers, strict=True):
                old = [cell.decode("utf-8", "surrogateescape") for cell in cells[: len(header)]]
                table.writerow([*old, *map(_cell, answer.values())])
        text.detach()


class TextCursor:
    """Reads rows of a file in their order; from the start again for a row that it has passed.

    Args:
        name: full name of the file.
        form: of the file.

    Raises:
        InputError: it cannot be read, or has become shorter; also from `take`.
    """

    def __init__(self, name: str, form: TextRows) -> None:
        self._name = name
        self._form = form
        self._stack = ExitStack()
        self._open()

    def _open(self) -> None:
        self._stack.close()
        with ExitStack() as stack:
            self._lines = self._form.opened(stack.enter_context(open_rows(self._name)), self._name)
            self._stack = stack.pop_all()
        self._at = 0

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def take(self, first: int, rows: int, *, batch_rows: int) -> Iterator[Any]:
        """Yield the rows from `first` on, in batches of at most `batch_rows` rows; see `TextRows.batch`."""
        if first < self._at:
            self._open()
        lines = self._lines
        next(itertools.islice(lines.raws, first - self._at, first - self._at), None)
        self._at = first
        while rows:
            found = list(map(lines.row, itertools.islice(lines.raws, min(rows, batch_rows))))
            if not found:
                raise InputError(f"{shown(self._name)} became shorter since it was counted", remedy="start again")
            self._at += len(found)
            rows -= len(found)
            yield self._form.batch(found, lines)


def _json_row(raw: tuple[int, bytes], taken: Iterable[str]) -> TextRow:
    """Return the row of a line; none of its keys may be among those that are `taken` by answers."""
    number, line = raw
    try:
        value = parsed(line, number)
    except InputError as error:
        return TextRow(number, b"", problem=str(error))
    if not isinstance(value, dict):
        return TextRow(number, b"", problem=f"line {number}: expected an object, not {quoted(value)}")
    problem = ""
    if name := next((name for name in taken if name in value), ""):
        problem = f"line {number}: it has a key {quoted(name)} already, where an answer would go"
    return TextRow(number, line.strip(), value, problem)


def _table_row(raw: CsvRow, header: list[str]) -> TextRow:
    number, cells, problem = raw
    width = len(header)
    if not problem and len(cells) != width:
        problem = f"line {number}: expected {width} cells, as in the header, not {len(cells)}: {quoted(cells)}"
    kept = [cell.encode("utf-8", "surrogateescape") for cell in cells]
    fields = {} if problem else dict(zip(header, cells, strict=True))
    return TextRow(number, (kept + [b""] * width)[: max(width, len(kept))], fields, problem)


def _joined(source: bytes, answer: dict[str, Any], problem: str | None) -> str:
    """Return a line with the JSON object of a row and, at its end, the keys of the answer."""
    if problem and any(f'"{name}"'.encode() in source for name in answer):  # that key keeps its value
        answer = {name: value for name, value in answer.items() if name.endswith("_error")}
    added = json.dumps(answer)[1:]
    body = source.decode("utf-8", "surrogateescape").removesuffix("}").rstrip()
    return f"{body}{'' if body in ('', '{') else ', '}{'' if body else '{'}{added}\n"


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def _without_mark(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Remove UTF-8's byte order mark from the first line."""
    for number, line in lines:
        yield number, line.removeprefix(MARK) if number == 1 else line


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _readable(fields: Mapping[str, Any], name: str) -> str:
    """Return the text of a field; ValueError: it is none, or no Unicode."""
    text = text_of(fields, name)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the {name} is not Unicode text: {quoted(text)}") from None
    return text
