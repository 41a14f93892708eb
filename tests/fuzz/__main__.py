"""Fuzz targets for a time, and print what was found; exit code 1 if anything was."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.supervisor import fuzz
from tests.fuzz.targets import TARGETS

FINDINGS = Path(__file__).parents[2] / "build" / "fuzz"
ENDLESS = 2**62


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="time for all targets together")
    parser.add_argument("--executions", type=int, default=ENDLESS, help="most inputs of a target")
    parser.add_argument("--target", action="append", choices=TARGETS, help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--input", type=Path, help="run this file through one target, instead")
    parser.add_argument("--to", type=Path, default=FINDINGS, help="folder of the findings (default: build/fuzz)")
    given = parser.parse_args()
    names = given.target or list(TARGETS)
    if given.input and len(names) != 1:
        parser.error("--input needs one --target")
    print(f"{'target':12} {'executions':>10} {'corpus':>7} {'findings':>8}")
    failed = False
    for name in names:
        outcome = fuzz(
            name,
            seconds=given.seconds / len(names),
            executions=given.executions,
            seed=given.seed,
            again=given.input,
        )
        counts = f"{outcome.executions:10,} {outcome.corpus:7,} {len(outcome.findings):8}"
        print(f"{name:12} {counts}", flush=True)
        for finding in outcome.findings.values():
            place = given.input or finding.save(given.to)
            print(f"    {finding.key}\n        {place}")
        if outcome.error:
            print(f"    it could not be run: {outcome.error}")
        failed |= bool(outcome.findings or outcome.error)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
