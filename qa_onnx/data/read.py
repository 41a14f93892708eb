"""Stream of a data file -> records, in bounded memory where the form allows it: JSON lines, CSV and TSV.

The form is recognized by content and not by the file's name: first the packing (packed.py), then Parquet, then
`_FORMS`, a table over the first lines. All commands read with it, `ask --input` too.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from qa_onnx.data.file_kinds import refuse_other_kinds
from qa_onnx.data.packed import MAX_BYTES, unpacked
from qa_onnx.data.records import Record
from qa_onnx.data.shapes import EXPECTED, records_of
from qa_onnx.data.tables import delimiter_of, from_csv, from_parquet
from qa_onnx.errors import InputError, quoted
from qa_onnx.machine.files import BUFFER

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    Lines = Iterator[tuple[int, bytes]]

FORMATS = f"it must be JSON or JSON lines, {EXPECTED}, or a CSV, TSV or Parquet table with question and context"
MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark


def read(source: io.BufferedReader[Any], file: str) -> Iterator[Record]:
    """Yield the questions of a data file in their order; a damaged line or part is a record with a problem.

    Args:
        source: the file's bytes from the start, plain or packed.
        file: its path, for the command that converts another kind of file.

    Raises:
        InputError: nothing of the file can be read, or, while records are taken, nothing of the rest.
        MissingExtraError: its form needs the extra `data`, which is not installed.
    """
    stream = unpacked(source)
    head = stream.peek(BUFFER)[:BUFFER]
    if head.startswith(b"PAR1"):
        table = bytearray()
        while part := stream.read(BUFFER):  # a `read` of the limit would reserve as much memory
            table += part
            _refuse_large(len(table), "a Parquet table")
        return from_parquet(bytes(table))
    refuse_other_kinds(head, "the file", file=file)
    opening = _opening(stream)
    if opening is None:
        return iter(())
    for is_form, records in _FORMS:
        if is_form(opening):
            return records(opening)
    raise InputError(f"the file starts with {quoted(opening.text)}; {FORMATS}")


@dataclass(slots=True)
class _Opening:
    """The first lines of a text file, and the rest of it.

    Attributes:
        number: of the first line that is not blank.
        line: that line.
        value: its JSON; None if it is no whole JSON value.
        cut: whether the line is the beginning of JSON that goes on in the next lines.
        rest: number and bytes of the lines after it.
    """

    number: int
    line: bytes
    value: object
    cut: bool
    rest: Lines

    @property
    def text(self) -> str:
        """The line as text."""
        return self.line.decode("utf-8", "replace").strip()

    @property
    def looks_like_json(self) -> bool:
        """Whether the line begins as a list or object does."""
        return self.line.lstrip().startswith((b"{", b"["))

    def next_line(self) -> bytes:
        """Return the next line that is not blank, which stays in the rest; empty at the end."""
        following = next(((number, line) for number, line in self.rest if line.strip()), None)
        if following is None:
            return b""
        self.rest = itertools.chain([following], self.rest)
        return following[1]


def _opening(stream: io.BufferedReader[Any]) -> _Opening | None:
    """Read to the first line that is not blank; None: there is none."""
    lines = numbered_lines(stream)
    for number, read_line in lines:
        line = read_line.removeprefix(MARK) if number == 1 else read_line
        if line.strip():
            value, cut = None, False
            try:
                value = parsed(line, number)
            except InputError as error:
                problem = error.__cause__
                cut = isinstance(problem, json.JSONDecodeError) and problem.pos >= len(problem.doc.rstrip())
            return _Opening(number, line, value, cut, lines)
    return None


def numbered_lines(stream: io.BufferedReader[Any]) -> Lines:
    """Yield number, from 1, and bytes of each line; InputError: one has more than `MAX_BYTES`."""
    for number in itertools.count(1):
        line = stream.readline(MAX_BYTES + 1)
        if not line:
            return
        _refuse_large(len(line), f"line {number}")
        yield number, line


def _refuse_large(count: int, what: str) -> None:
    if count > MAX_BYTES:
        raise InputError(f"{what} has more than {MAX_BYTES:,} bytes", remedy="split the file, or write JSON lines")


def _is_row(opening: _Opening) -> bool:
    """Return whether the first line is a question of its own, so that no other line is waited for."""
    return isinstance(opening.value, dict) and not opening.value.keys().isdisjoint({"question", "header"})


def _is_lines(opening: _Opening) -> bool:
    """Return whether there is an object a line; the first may be damaged."""
    if isinstance(opening.value, (dict, list)):
        return bool(opening.next_line())
    return opening.looks_like_json and not opening.cut and _is_object(opening.next_line())


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parsed(line, 1), dict)
    except InputError:
        return False


def _from_lines(opening: _Opening) -> Iterator[Record]:
    for number, line in itertools.chain([(opening.number, opening.line)], opening.rest):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            value = parsed(line, number)
        except InputError as error:
            yield Record(place, line=number, problem=str(error).removeprefix(place).lstrip(",: "))
            continue
        for record in records_of(value, place):
            yield Record(record.place, record.fields, number, record.problem)


def _from_document(opening: _Opening) -> Iterator[Record]:
    value = opening.value
    if value is None:
        data, opening.line = bytearray(opening.line), b""
        for _, line in opening.rest:
            data += line
            _refuse_large(len(data), "the document")
        try:
            value = parsed(data, opening.number)
        except InputError as error:
            if error.remedy:
                raise
            raise InputError(f"{error.problem}; {FORMATS}") from error
    opening.value = None  # not kept while the records are taken
    return records_of(value, "")


def _from_table(opening: _Opening) -> Iterator[Record]:
    delimiter = delimiter_of(opening.text)
    lines = itertools.chain([(opening.number, opening.line)], opening.rest)
    return from_csv(((number, _decoded(line, number)) for number, line in lines), delimiter or ",")


def parsed(data: bytes | bytearray, line: int) -> object:
    """Return the value of JSON text; `line` is the number of its first line.

    Raises:
        InputError: it is not UTF-8 or not JSON; the message has the place.
    """
    try:
        value: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass  # it may still be JSON with NaN or half of a surrogate pair; if not, json knows the place
    else:
        return value
    text = _decoded(data, line).rstrip()  # or an error at its end would be on the next line
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        location = f"line {line + error.lineno - 1}, column {error.colno}"
        near = quoted(text[max(0, error.pos - 30) : error.pos + 30])
        raise InputError(f"{location}: not JSON ({error.msg}) in {near}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {line}: not usable JSON ({error})") from error
    return value


def _decoded(data: bytes | bytearray, line: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = line + data.count(b"\n", 0, error.start)
        raise InputError(
            f"line {number}: {error.reason} at byte {error.start}: expected UTF-8, not "
            f"{quoted(bytes(data[max(0, error.start - 10) : error.start + 10]))}",
            remedy="save it as UTF-8",
        ) from error


# In this order: form, how its records are read.
_FORMS: tuple[tuple[Callable[[_Opening], bool], Callable[[_Opening], Iterator[Record]]], ...] = (
    (_is_row, _from_lines),
    (_is_lines, _from_lines),
    (lambda opening: opening.looks_like_json, _from_document),
    (lambda opening: delimiter_of(opening.text) is not None, _from_table),
)
