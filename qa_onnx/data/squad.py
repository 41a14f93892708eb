"""A data file, or a data set of the Hugging Face hub -> examples with gold answers (EM and F1 as SQuAD's).

    packed.py   gzip, Zstandard          -> bytes, bounded
    read.py     bytes                    -> the form of the file: JSON, JSON lines, CSV, TSV, Parquet
    shapes.py   JSON                     -> records, whatever they are nested in
    csv_rows.py lines of CSV and TSV     -> cells
    tables.py   CSV, TSV, Parquet        -> records
    hub.py      a data set's name        -> records
    records.py  a record                 -> an example, checked and repaired
    gold.py     the example, the data set, and the count of repairs

docs/data.md shows what each form looks like.
"""

from __future__ import annotations

import hashlib
import logging
import random
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.data.endings import ENDINGS
from qa_onnx.data.gold import DataSet, Gold, Repairs
from qa_onnx.data.hub import is_name, records_of_hub
from qa_onnx.data.packed import MAX_BYTES
from qa_onnx.data.read import FORMATS, read
from qa_onnx.data.records import Record, id_of, to_gold
from qa_onnx.errors import InputError, quoted
from qa_onnx.machine.files import BUFFER, check_path, open_file, open_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOG = logging.getLogger(__name__)

__all__ = ["ENDINGS", "DataSet", "Gold", "Repairs", "load", "sample"]


def load(
    path: Path | str,
    *,
    limit: int | None = None,
    seed: int = 0,
    skip: Callable[[str], None] | None = None,
    unique_ids: bool = False,
) -> DataSet:
    """Read a data file, or a data set of the Hugging Face hub.

    Args:
        path: a file in any form of docs/data.md, plain, gzip or Zstandard, of at most 1 GiB. If there is no such
            file, the name of a data set, OWNER/NAME:SPLIT, which needs the package `datasets`.
        limit: most questions to keep: a random sample of this size, in the order of the file. None: all.
        seed: of the sample; the same seed and file give the same sample.
        skip: called with a message for each part of the file that cannot be used and is left out; there may be
            nothing left. None: such parts are errors, and the log says what was repaired.
        unique_ids: whether a question with the id of an earlier one cannot be used.

    Raises:
        InputError: `path` is no path, the file cannot be read, or something in it is missing, of the wrong type or
            contradictory. The message names the file, the location, the problem and the remedy.
        MissingExtraError: the form needs a package that is not installed; the message has the pip line.
    """
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise InputError(
            f"limit is {quoted(limit)}; it must be an integer of at least 1, or None for all questions"
        )
    check_path("path", path)
    path = Path(path)
    on_hub = is_name(str(path))
    digest = hashlib.sha256()
    repairs = Repairs()
    try:
        records = records_of_hub(str(path), digest.update) if on_hub else _records(path, digest.update)
        golds = tuple(_golds(records, repairs, skip, unique_ids=unique_ids))
        if not golds and skip is None:
            raise InputError(f"it holds no questions; {FORMATS}")
    except InputError as error:
        raise InputError(f"{path}: {error.problem}", remedy=error.remedy) from error.__cause__
    name = str(path) if on_hub else path.name
    if repairs and skip is None:
        _LOG.info("%s was repaired: %s", name, repairs)
    if limit is not None:
        golds = sample(golds, limit, seed)
    return DataSet(name, digest.hexdigest(), golds, repairs)


def sample(golds: tuple[Gold, ...], limit: int, seed: int) -> tuple[Gold, ...]:
    """Return a random sample of at most `limit` questions, in their order."""
    if limit >= len(golds):
        return golds
    chosen = random.Random(seed).sample(range(len(golds)), limit)
    return tuple(golds[index] for index in sorted(chosen))


def _records(path: Path, update: Callable[[bytes], object]) -> Iterator[Record]:
    with open_file(path, limit=MAX_BYTES, name="the file", update=update) as source:
        if not source.peek(1):
            raise InputError(f"the file is empty; {FORMATS}")
        yield from read(open_stream(source, "the file"), str(path))  # some unpackers close what they read
        while source.read(BUFFER):  # the hash is of the whole file
            pass


def _golds(
    records: Iterator[Record], repairs: Repairs, skip: Callable[[str], None] | None, *, unique_ids: bool
) -> Iterator[Gold]:
    """Yield the examples of the records; a record that cannot be used is skipped or an error."""
    seen: set[str] = set()
    for record in records:
        try:
            gold = to_gold(record, repairs)
            if unique_ids and gold.id in seen and id_of(record) is not None:
                raise ValueError(f"duplicate question id {quoted(gold.id)}: ids must be unique in a file")
        except ValueError as error:
            problem = InputError(_located(record, str(error)))
            if skip is None:
                raise problem from error
            skip(str(problem))
            continue
        seen.add(gold.id)
        yield gold


def _located(record: Record, problem: str) -> str:
    name = id_of(record)
    return f"{record.place}{'' if name is None else f' (id {quoted(name)})'}: {problem}"
