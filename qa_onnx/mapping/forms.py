"""Names of files -> their form, and what reads and writes its rows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from qa_onnx.data.endings import FORMS, PACKINGS, form_of, is_packed
from qa_onnx.errors import InputError, quoted, shown, with_name
from qa_onnx.mapping.arrow import answer_schema
from qa_onnx.mapping.parquet import ParquetRows
from qa_onnx.mapping.text_rows import TextRows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qa_onnx.mapping.arrow import Asked
    from qa_onnx.mapping.plan import InputFile

Rows: TypeAlias = ParquetRows | TextRows

_LINES = [ending for ending, form in FORMS.items() if form not in ("json", "parquet")]
TAKEN = f"Parquet (.parquet), or JSON lines, CSV or TSV ({', '.join(_LINES)}, each also {' or '.join(PACKINGS)})"


def ending_of(name: str) -> str | None:
    """Return the form of a file by its name: "parquet", "jsonl", "csv" or "tsv"; None: another one."""
    form = form_of(name)
    return None if form == "json" or (form == "parquet" and is_packed(name)) else form


def rows_of(ending: str, asked: Asked, id_column: str | None = None) -> Rows:
    """Return what reads and writes the rows of a form; it can be pickled.

    Args:
        ending: as `ending_of` returns it.
        asked: which columns are read.
        id_column: names rows in messages; None: their places do.
    """
    return ParquetRows(asked, id_column) if ending == "parquet" else TextRows(ending, asked, id_column)


def survey_all(names: Iterable[str], asked: Asked, id_column: str | None) -> tuple[str, list[InputFile]]:
    """Return the form of all files, and their facts.

    Raises:
        InputError: they are of several forms, or of none, or their columns differ; or one cannot be read, or lacks
            a column, or has one of a wrong type.
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
    form = str(forms[names[0]])
    rows = rows_of(form, asked, id_column)
    files = []
    for name in names:
        file, schema = rows.survey(name)
        if schema is not None:
            _check(schema, name, asked, id_column)
        files.append(file)
        _compare(files[0], file)
    return form, files


def _check(schema: Any, name: str, asked: Asked, id_column: str | None) -> None:
    """Raise InputError where a file lacks a column, or has one of a wrong type."""
    try:
        answer_schema(schema, asked)
    except InputError as error:
        raise with_name(name, error) from error
    if id_column is not None and id_column not in schema.names:
        raise InputError(
            f"{shown(name)} has no column {quoted(id_column)} for --id-column; the columns are "
            f"{quoted(schema.names)}"
        )


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
