"""Name of a file -> its form, and what the forms have in common: survey, cursor, writing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from qa_onnx.data.endings import FORMS, PACKINGS, form_of, is_packed
from qa_onnx.errors import InputError, quoted, shown, with_name
from qa_onnx.mapping import parquet, text_rows
from qa_onnx.mapping.arrow import answer_schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qa_onnx.mapping.arrow import Asked
    from qa_onnx.mapping.plan import InputFile

_LINES = [ending for ending, form in FORMS.items() if form not in ("json", "parquet")]
TAKEN = f"Parquet (.parquet), or JSON lines, CSV or TSV ({', '.join(_LINES)}, each also {' or '.join(PACKINGS)})"


def ending_of(name: str) -> str | None:
    """Return the form of a file by its name: "parquet", "jsonl", "csv" or "tsv"; None: another one."""
    form = form_of(name)
    return None if form == "json" or (form == "parquet" and is_packed(name)) else form


@dataclass(frozen=True, slots=True)
class RowForm:
    """A form of files, and which columns are read of it.

    Attributes:
        ending: as `ending_of` returns it.
        asked: which columns are read.
        id_column: names rows in messages; None: their places do.
    """

    ending: str
    asked: Asked
    id_column: str | None = None

    def survey(self, name: str) -> InputFile:
        """Return rows, hash and columns of a file.

        Raises:
            InputError: it cannot be read, or lacks a column, or has one of a wrong type.
        """
        import pyarrow

        if self.ending == "parquet":
            file, schema = parquet.survey(name)
        else:
            file = self._text().survey(name)
            schema = pyarrow.schema([(column, pyarrow.string()) for column, _ in file.columns])
        if self.ending != "jsonl":
            try:
                answer_schema(schema, self.asked)
            except InputError as error:
                raise with_name(name, error) from error
            if self.id_column is not None and self.id_column not in schema.names:
                raise InputError(
                    f"{shown(name)} has no column {quoted(self.id_column)} for --id-column; the columns are "
                    f"{quoted(schema.names)}"
                )
        return file

    def cursor(self, name: str) -> parquet.ParquetCursor | text_rows.TextCursor:
        """Open a file to read rows of it; InputError: it cannot be read."""
        if self.ending == "parquet":
            return parquet.ParquetCursor(name)
        return text_rows.TextCursor(name, self._text())

    def write(self, file: IO[bytes], batches: Iterable[Any]) -> None:
        """Write answered batches, which came of a cursor, to a file."""
        (parquet.write if self.ending == "parquet" else text_rows.write)(file, batches)

    def _text(self) -> text_rows.TextForm:
        return text_rows.TextForm(self.ending, self.asked, self.id_column)


def survey_all(names: Iterable[str], asked: Asked, id_column: str | None) -> tuple[str, list[InputFile]]:
    """Return the form of all files, and their facts.

    Raises:
        InputError: they are of several forms, or of none, or their columns differ; or see `RowForm.survey`.
    """
    names = list(names)
    forms = {name: ending_of(name) for name in names}
    for name, ending in forms.items():
        if ending is None:
            raise InputError(
                f"{shown(name)} has none of the endings that map reads", remedy=f"name files of {TAKEN}"
            )
        if ending != forms[names[0]]:
            raise InputError(
                f"{shown(names[0])} is {forms[names[0]]} and {shown(name)} is {ending}",
                remedy="answer each kind in a job of its own",
            )
    form = RowForm(str(forms[names[0]]), asked, id_column)
    files = []
    for name in names:
        files.append(form.survey(name))
        _compare(files[0], files[-1])
    return form.ending, files


def _compare(first: InputFile, other: InputFile) -> None:
    """Raise InputError where two files have other columns."""
    if first.columns == other.columns:
        return
    place = partial("the columns of {1} are not those of {0}: {2}".format, shown(first.name), shown(other.name))
    before, now = dict(first.columns), dict(other.columns)
    for column, kind in before.items():
        if now.get(column) != kind:
            what = f"is {now[column]}, not {kind}" if column in now else "is missing"
            raise InputError(place(f"{quoted(column)} {what}"), remedy="write both alike")
    added = [column for column in now if column not in before]
    what = f"{quoted(added[0])} is new" if added else "they are in another order"
    raise InputError(place(what), remedy="write both alike")
