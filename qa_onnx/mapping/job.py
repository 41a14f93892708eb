"""Inputs, an output and a bundle -> a map job: planned, run by an engine, and counted.

    places.py      names -> files                  plan.py     files -> shards, and the manifest
    forms.py       files -> rows and back          work.py     a shard -> a part of the output
    parquet.py, text_rows.py: the forms            local.py, on_ray.py: the engines

Left out: what is shown of it (cli).
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.files import manifest_sha256
from qa_onnx.errors import InputError, MapError, shown
from qa_onnx.machine.packages import require
from qa_onnx.mapping import plan as plans
from qa_onnx.mapping.forms import ending_of, rows_of, survey_all
from qa_onnx.mapping.places import OutputFolder, find_inputs, full_name, located
from qa_onnx.mapping.plan import MapPlan
from qa_onnx.mapping.work import MapWork

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from qa_onnx.mapping.arrow import Asked
    from qa_onnx.mapping.plan import Shard
    from qa_onnx.mapping.work import ShardReport
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader

    Engine = Callable[[MapWork, Iterable[Shard]], Generator[ShardReport, None, None]]


@dataclass(slots=True)
class MapTotals:
    """What a job has done so far.

    Attributes:
        total: rows of the whole input.
        before: rows of the parts that were there at the start.
        rows: rows that were written since.
        failed: how many of those could not be answered.
        tokens: that the model has read for them, without padding.
        first_failure: one of them in words.
        errors: shards that could not be answered as a whole, in words.
        seconds: since the start.
        peak_bytes: most memory of one worker; 0: unknown.
    """

    total: int
    before: int = 0
    rows: int = 0
    failed: int = 0
    tokens: int = 0
    first_failure: str = ""
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_bytes: int = 0

    def add(self, report: ShardReport) -> None:
        """Add the report of a shard."""
        self.rows += report.rows
        self.failed += report.failed
        self.tokens += report.tokens
        self.first_failure = self.first_failure or report.first_failure
        self.peak_bytes = max(self.peak_bytes, report.peak_bytes)
        if report.error:
            self.errors.append(report.error)


@dataclass(frozen=True, slots=True)
class MapJob:
    """A job that was planned.

    Attributes:
        plan: which rows make which part.
        work: what a worker needs to know.
        resume: whether the output may hold parts of an earlier run.
    """

    plan: MapPlan
    work: MapWork
    resume: bool = False

    def run(self, engine: Engine) -> Iterator[MapTotals]:
        """Answer all rows that are not answered yet; yield the totals after each shard, and at the start.

        Raises:
            MapError: the output cannot be written, is another job's, or a shard or a worker failed. What is
                written stays, for another run with `resume`.
            InputError: nothing of the input could be answered.
        """
        output = self.work.output
        started = time.monotonic()
        with output.held():
            done = self.plan.begin(output, resume=self.resume)
            left = sum(shard.rows for shard in self.plan.shards(done))
            totals = MapTotals(self.plan.rows, self.plan.rows - left)
            yield totals
            with closing(engine(self.work, self.plan.shards(done))) as reports:
                for report in reports if left else ():
                    if report.stops:
                        raise MapError(report.error)
                    totals.add(report)
                    totals.seconds = time.monotonic() - started
                    yield totals
            if totals.errors:
                count = len(totals.errors)
                raise MapError(
                    f"{count} of {len(self.plan):,} shards could not be answered, the others are written; "
                    f"the first: {totals.errors[0]}",
                    remedy="mend that, and go on with --resume",
                )
            if totals.failed and totals.failed == totals.total:
                raise InputError(f"no row could be answered; {totals.first_failure}")
            self.plan.write(output, {"rows": totals.total})


def plan_job(
    inputs: Iterable[str],
    output: str,
    *,
    asked: Asked,
    bundle: Path,
    load: Callable[[Path], tuple[Reader, Options]],
    settings: dict[str, Any],
    id_column: str | None = None,
    resume: bool = False,
) -> MapJob:
    """Plan a job: find and read through its inputs; nothing is written yet.

    Args:
        inputs: names of files and folders, patterns, or URLs.
        output: name of the folder for the parts.
        asked: which columns are read.
        bundle: the bundle's folder or file.
        load: returns a reader of a bundle, and options; it can be pickled.
        settings: name -> value, JSON, of all that decides the answers beside `asked` and the bundle.
        id_column: names rows in messages; None: their places do.
        resume: whether to go on with the output of an earlier run.

    Raises:
        InputError: an input cannot be read, is of another form, or lacks a column.
        MissingExtraError: the extra `map` is not installed.
    """
    require("map")
    names = find_inputs(inputs, output, lambda name: ending_of(name) is not None)
    ending, files = survey_all(names, asked, id_column)
    if not any(file.rows for file in files):
        raise InputError(f"{shown(names[0])}{' and the other inputs hold' if len(names) > 1 else ' holds'} no row")
    identity: dict[str, Any] = {
        "bundle": manifest_sha256(bundle),
        **settings,
        "columns": {"question": asked.question, "context": asked.context},
        "questions": dict(asked.questions),
        "n_best": asked.n_best,
    }
    folder = OutputFolder(full_name(*located(output)))
    plan = MapPlan(tuple(files), ending, identity, plans.SHARD_ROWS)
    return MapJob(
        plan, MapWork(load, bundle, identity["bundle"], rows_of(ending, asked, id_column), folder), resume
    )
