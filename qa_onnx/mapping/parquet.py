"""Parquet files -> record batches of any rows of them, and answered batches -> a Parquet file.

A file is read row group by row group. A cursor goes forward without reading a group twice, and jumps over groups.
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_right
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from qa_onnx.errors import InputError, shown
from qa_onnx.mapping.places import open_anywhere
from qa_onnx.mapping.plan import InputFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qa_onnx.mapping.arrow import Asked

_TAIL = 8  # bytes after the footer: its length and the mark
_LONGEST_FOOTER = 256 << 20  # bytes


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """Rows of Parquet files: read and written.

    Args:
        asked: which columns are read.
        id_column: names rows in messages; None: their places do.
    """

    asked: Asked
    id_column: str | None = None

    def survey(self, name: str) -> tuple[InputFile, Any]:
        """Return the facts of a file, and its schema; InputError: it cannot be read, or is damaged."""
        with open_anywhere(name) as file, _damage(name):
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != b"PAR1" or not 0 < length <= min(size - _TAIL, _LONGEST_FOOTER):
                raise InputError(
                    f"{shown(name)} is no Parquet file, or its end is missing", remedy="fetch it again"
                )
            file.seek(size - _TAIL - length)
            digest = hashlib.sha256(b"%d " % size + file.read(length)).hexdigest()
            table = _table(file)
            rows, schema = table.metadata.num_rows, table.schema_arrow
        columns = tuple((field.name, str(field.type)) for field in schema)
        return InputFile(name, rows, digest, columns), schema

    def cursor(self, name: str) -> ParquetCursor:
        """Open a file to read rows of it; InputError: it cannot be read, or is damaged."""
        return ParquetCursor(name)

    def write(self, file: IO[bytes], batches: Iterable[Any]) -> None:
        """Write answered batches, of one schema, as a Parquet file."""
        from pyarrow import parquet

        writer: Any = None
        try:
            for batch in batches:
                if writer is None:
                    writer = parquet.ParquetWriter(file, batch.schema)
                writer.write_batch(batch)
        finally:
            if writer is not None:
                writer.close()


class ParquetCursor:
    """Reads rows of a file, fastest in their order.

    Args:
        name: full name of the file.

    Raises:
        InputError: it cannot be read, or is damaged; also from `take`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        with ExitStack() as stack:
            file = stack.enter_context(open_anywhere(name))
            with _damage(name):
                self._table = _table(file)
            self._stack = stack.pop_all()
        counts = [self._table.metadata.row_group(n).num_rows for n in range(self._table.num_row_groups)]
        self._starts = [0, *itertools.accumulate(counts)]
        self._at = 0  # number of the next row
        self._batches: Iterator[Any] = iter(())
        self._rest: Any = None  # of the last batch

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def take(self, first: int, rows: int, *, batch_rows: int) -> Iterator[Any]:
        """Yield the rows from `first` on, as each a `pyarrow.RecordBatch` of at most `batch_rows` rows."""
        if first < self._at or self._group(first) > self._group(self._at) or self._rest is None:
            group = self._group(first)
            self._at, self._rest = self._starts[group], None
            self._batches = itertools.chain.from_iterable(  # one by one: damage in the next is not met before
                self._table.iter_batches(batch_rows, row_groups=[number], use_threads=False)
                for number in range(group, len(self._starts) - 1)
            )
        self._skip(first)
        while rows:
            batch = self._next(min(rows, batch_rows))
            rows -= batch.num_rows
            yield batch

    def _group(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _skip(self, first: int) -> None:
        while self._at < first:
            self._next(first - self._at)

    def _next(self, most: int) -> Any:
        """Return the next batch, of at most so many rows."""
        if self._rest is None or not self._rest.num_rows:
            with _damage(self._name):
                self._rest = next(self._batches, None)
                for column in self._rest or ():
                    if hasattr(column, "dictionary"):
                        column.validate(full=True)  # indices of a damaged file may lie outside of it
            if self._rest is None:
                raise InputError(f"{shown(self._name)} became shorter since it was counted", remedy="start again")
        batch = self._rest.slice(0, most)
        self._rest = self._rest.slice(batch.num_rows)
        self._at += batch.num_rows
        return batch


def _table(file: IO[bytes]) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(file)


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """Turn errors of pyarrow into errors of the package."""
    import pyarrow

    try:
        yield
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # names of columns may be damaged, too
        raise InputError(f"{shown(name)}: damaged Parquet ({error})", remedy="fetch it again") from error
