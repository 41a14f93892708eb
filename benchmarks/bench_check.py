"""Check that qa-onnx has not become slower beside the same rivals: `make bench-check`.

    python benchmarks/bench_check.py NEW/results.json STORED/results.json

Compares each precision's speed as a multiple of PyTorch's, or of the first contender's, so that the speed of the
machine cancels out. Exit code 1: one has lost more than 10 %, or does not run any more; 2: nothing to compare.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx import QaOnnxError
from qa_onnx.bench.results import from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.bench.results import BenchResults, ContenderResult

OURS = "qa-onnx "
ALLOWED = 0.10


@dataclass(frozen=True)
class Change:
    """A contender's ratio to the first of its run, before and now."""

    run: str
    name: str
    before: float
    now: float

    @property
    def drop(self) -> float:
        """Lost share of the ratio; negative: a gain."""
        return 1 - self.now / self.before


def changes(new: Sequence[BenchResults], stored: Sequence[BenchResults]) -> list[Change]:
    """Return the changes of all precisions in both, in runs with the same title and first contender."""
    compared = []
    olds = {run.title: run for run in stored}
    for run in new:
        old = olds.get(run.title)
        if old is None or not (run.ran and old.ran) or run.ran[0].name != old.ran[0].name:
            continue
        before = _ratios(old.ran)
        compared += [
            Change(run.title, name, before[name], now) for name, now in _ratios(run.ran).items() if name in before
        ]
    return compared


def _ratios(outcomes: Sequence[ContenderResult]) -> dict[str, float]:
    return {one.name: one.ratio.median for one in outcomes if one.ratio and one.name.startswith(OURS)}


def missing(new: Sequence[BenchResults], stored: Sequence[BenchResults]) -> list[str]:
    """Return the precisions that the stored runs have and the same new runs lack."""
    now = {run.title: set(_ratios(run.ran)) for run in new}
    return [name for run in stored if run.title in now for name in _ratios(run.ran) if name not in now[run.title]]


def differences(new: Sequence[BenchResults], stored: Sequence[BenchResults]) -> list[str]:
    """Return other changes that ratios depend on, in words."""
    lines = []
    for name in ("instruction_sets", "threads"):
        before, now = stored[0].machine[name], new[0].machine[name]
        if before != now:
            lines.append(f"not the same {name.replace('_', ' ')}: {before} when stored, {now} now")
    versions = stored[0].machine["versions"]
    for name, now in new[0].machine["versions"].items():
        if name in versions and versions[name] != now and name != "qa-onnx":
            lines.append(f"{name} was {versions[name]}, is {now}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("new", type=Path, metavar="NEW")
    parser.add_argument("stored", type=Path, metavar="STORED")
    chosen = parser.parse_args()
    try:
        new, stored = (from_json(path.read_text(encoding="utf-8")) for path in (chosen.new, chosen.stored))
    except (OSError, QaOnnxError) as error:
        print(error, file=sys.stderr)
        return 2
    compared = changes(new, stored)
    if not compared:
        print(
            "the two files have no precision of qa-onnx in common in runs with the same first contender",
            file=sys.stderr,
        )
        return 2
    for one in compared:
        verdict = "SLOWER" if one.drop > ALLOWED else "ok"
        print(f"{verdict:7} {one.name:36} {one.before:6.2f} x -> {one.now:6.2f} x  ({-one.drop:+.0%})  {one.run}")
    lost = missing(new, stored)
    for name in lost:
        print(f"MISSING {name:36} was measured, and is not any more")
    for line in differences(new, stored):
        print(f"note: {line}")
    return int(bool(lost) or any(one.drop > ALLOWED for one in compared))


if __name__ == "__main__":
    sys.exit(main())
