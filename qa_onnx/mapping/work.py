"""A shard -> a part of the output, by one reader in one process; what the workers of all engines run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.files import manifest_sha256
from qa_onnx.engines.measured import MeasuredSession
from qa_onnx.errors import InputError, MapError, QaOnnxError, shown
from qa_onnx.mapping.arrow import Asked, answer_batches
from qa_onnx.mapping.text_rows import ID, PLACE, PROBLEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from qa_onnx.mapping.forms import Rows
    from qa_onnx.mapping.places import OutputFolder
    from qa_onnx.mapping.plan import Shard
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader

_BATCH_ROWS = 256  # rows that are in memory as Python objects


@dataclass(frozen=True, slots=True)
class MapWork:
    """What a worker needs to know; it can be pickled.

    Attributes:
        load: returns a reader of the bundle, and the options of its answers.
        bundle: the bundle's folder or file.
        bundle_sha256: of its bundle.json, which names the hashes of all other files.
        rows: reads and writes those of the input files.
        output: folder of the parts.
    """

    load: Callable[[Path], tuple[Reader, Options]]
    bundle: Path
    bundle_sha256: str
    rows: Rows
    output: OutputFolder


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of a shard.

    Attributes:
        part: its name.
        rows: number of its rows; 0 with an error.
        failed: how many of them could not be answered.
        first_failure: the first of those in words; empty: there is none.
        error: why it could not be read, answered or written; empty: it is done.
        stops: whether the same error would meet the other shards, so that the job ends.
        tokens: that the model read for it, without padding.
        peak_bytes: most memory that its worker had so far; 0: unknown.
    """

    part: str
    rows: int = 0
    failed: int = 0
    first_failure: str = ""
    error: str = ""
    stops: bool = False
    tokens: int = 0
    peak_bytes: int = 0


class MapWorker:
    """Answers one shard after another with one reader, which it loads for the first one."""

    def __init__(self, work: MapWork) -> None:
        self._work = work
        self._opened: tuple[Reader, Options, MeasuredSession] | None = None
        self._cursor: tuple[str, Any] | None = None  # name of the file that is open, and its cursor

    def run(self, shard: Shard) -> ShardReport:
        """Answer a shard and write its part; errors are in the report."""
        try:
            if self._opened is None:
                self._opened = self._load()
        except QaOnnxError as error:
            return ShardReport(shard.part, error=str(error), stops=True)
        try:
            return self._answer(shard, *self._opened)
        except InputError as error:  # of this input; others may be whole
            self.close()
            return ShardReport(shard.part, error=f"{shard}: {error}")
        except QaOnnxError as error:
            return ShardReport(shard.part, error=f"{shard}: {error}", stops=True)
        except MemoryError:
            return ShardReport(shard.part, error=f"{shard}: out of memory", stops=True)

    def _load(self) -> tuple[Reader, Options, MeasuredSession]:
        work = self._work
        if manifest_sha256(work.bundle) != work.bundle_sha256:
            raise MapError(f"the bundle {work.bundle} was changed since the job began", remedy="start again")
        reader, options = work.load(work.bundle)
        measured = MeasuredSession(reader.steps.session, reader.steps.pad_id)
        reader.steps = dataclasses.replace(reader.steps, session=measured)
        return reader, options, measured

    def close(self) -> None:
        """Close the file that is read."""
        if self._cursor is not None:
            self._cursor[1].close()
            self._cursor = None

    def _answer(self, shard: Shard, reader: Reader, options: Options, measured: MeasuredSession) -> ShardReport:
        form, before = self._work.rows, measured.tokens
        if self._cursor is None or self._cursor[0] != shard.source:
            self.close()
            self._cursor = shard.source, form.cursor(shard.source)
        rows = self._cursor[1].take(shard.first, shard.rows, batch_rows=_BATCH_ROWS)
        tally = _Tally(shard, form.asked, form.id_column)
        answered = answer_batches(rows, reader, form.asked, options=options)
        with self._work.output.whole(shard.part) as file:
            form.write(file, tally.count(answered))
        return ShardReport(
            shard.part,
            shard.rows,
            tally.failed,
            tally.first_failure,
            tokens=measured.tokens - before,
            peak_bytes=_peak_bytes(),
        )


class _Tally:
    """Counts the rows of a shard that could not be answered, and gives those of text files their own reasons."""

    def __init__(self, shard: Shard, asked: Asked, id_column: str | None) -> None:
        self.failed = 0
        self.first_failure = ""
        self._row = shard.first
        self._source = shard.source
        self._errors = [f"{name}_error" for name in asked.names]
        self._id_column = id_column

    def count(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches, with the problems of their rows as the reasons."""
        from pyarrow import compute

        for answered in batches:
            batch = answered
            if PROBLEM in batch.schema.names:
                for name in self._errors:
                    errors = compute.coalesce(batch.column(PROBLEM), batch.column(name))
                    batch = batch.set_column(batch.schema.names.index(name), batch.schema.field(name), errors)
            bad: dict[int, str] = {}
            for name in self._errors:
                column = batch.column(name)
                if column.null_count < len(column):
                    bad |= {
                        n: text for n, text in enumerate(column.to_pylist()) if text is not None and n not in bad
                    }
            if bad and not self.first_failure:
                row = min(bad)
                place, where = self._place(batch, row)
                self.first_failure = f"{place} of {where}: {bad[row].removeprefix(f'{place}: ')}"
            self.failed += len(bad)
            self._row += batch.num_rows
            yield batch

    def _place(self, batch: Any, row: int) -> tuple[str, str]:
        """Return a row in words: its place in the file, and the file, with the row's id if there is one."""
        if PLACE in batch.schema.names:
            place, name = batch.column(PLACE)[row].as_py(), batch.column(ID)[row].as_py()
        else:
            place, name = f"row {self._row + row + 1:,}", None
            if self._id_column is not None:
                name = batch.column(self._id_column)[row].as_py()
                name = None if name is None else repr(name)
        return place, shown(self._source) + (f" ({self._id_column} {shown(name)})" if name else "")


def _peak_bytes() -> int:
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
