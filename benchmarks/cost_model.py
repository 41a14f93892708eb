"""The cost model of docs/scaling.md: assumptions, and what follows from them and from what was measured.

results/service-times.json, results/queue.json --> Plan --> scaling.py, which makes tables of it
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from environments import ROOT
from measured import STORED, ServiceTimes
from pages import Page
from simulate_queue import HEAD, MIX, Mix, mix_of, shares_of

from qa_onnx.errors import InputError
from qa_onnx.machine.files import os_errors
from qa_onnx.mapping.plan import SHARD_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE = STORED.with_name("queue.json")

# Assumptions: none of these was measured. The page lists all of them.
NODES = (1, 10, 100, 1000)
CORES = 16  # of a node
ROWS = 1_000_000_000
SHARD = SHARD_ROWS  # what `qa-onnx map` makes
USEFUL = 0.8  # share of the core-hours that are paid for in which questions are answered
PRICE = 0.04  # of a core-hour
GIGABIT = 125e6  # bytes a second of a link
ENTRY = 200  # bytes of a shard in the list of shards
LISTED = 1000  # names in an answer of an object store to a request for a list
SLOWER = 1.5  # p50 and p99 under load, as multiples of those without a wait, that are still good
AUTOSCALER = 120  # seconds from more load to a new node
SURGE = 1.5  # load during a surge, as a multiple of what the servers can do


@dataclass(frozen=True)
class Plan:
    """What the tables are computed from.

    Attributes:
        times: the measurement.
        queue: the simulation.
        price: of a core-hour.
    """

    times: ServiceTimes
    queue: Page
    price: float = PRICE

    @property
    def rates(self) -> dict[int, float]:
        """Questions a core-second by words of the text, many questions in a call."""
        return {batch.words: batch.per_core_second for batch in self.times.batch}

    @property
    def rate(self) -> float:
        """Questions a core-second of the mix: core-seconds add up, so its mean is harmonic."""
        return 1 / sum(share / self.rates[words] for words, share in shares_of(MIX).items())

    @property
    def row_bytes(self) -> float:
        """Characters of a row of the mix, one byte each."""
        single = self.times.of(1)
        return sum(share * single[words].characters for words, share in shares_of(MIX).items())

    @property
    def mix(self) -> Mix:
        """Service times of questions of the mix that are asked alone, one thread."""
        return mix_of(self.times.of(1), MIX)

    def hours(self, nodes: int) -> float:
        """Hours for all rows."""
        return ROWS / (self.rate * CORES * nodes * USEFUL) / 3600

    def times_to_answer(self, workers: int) -> dict[float, tuple[float, float]]:
        """Milliseconds from arrival to answer by load: 50th and 99th percentile."""
        return {
            float(row[HEAD.index("load")]): (_cell(row, "p50 ms"), _cell(row, "p99 ms"))
            for row in self.queue.rows
            if int(row[HEAD.index("workers")]) == workers
        }

    @property
    def margin(self) -> float:
        """Half of the widest 95 % interval of a mean wait at the highest load, as a share of that wait."""
        load = max(_cell(row, "load") for row in self.queue.rows)
        rows = [row for row in self.queue.rows if _cell(row, "load") == load]
        return max(_cell(row, "95 % +-") / _cell(row, "wait ms, mean") for row in rows)

    @cached_property
    def idle(self) -> tuple[float, float]:
        """Milliseconds of a question that never waits: 50th and 99th percentile."""
        return self.mix.percentile(0.5), self.mix.percentile(0.99)

    @property
    def workers(self) -> list[int]:
        """Numbers of workers that were simulated."""
        return sorted({int(row[HEAD.index("workers")]) for row in self.queue.rows})

    def planned(self, workers: int) -> float:
        """Return the highest load up to which p50 and p99 stay good; 0: none of those that were simulated."""
        good = 0.0
        for load, percentiles in sorted(self.times_to_answer(workers).items()):
            if any(time > SLOWER * idle for time, idle in zip(percentiles, self.idle, strict=True)):
                break
            good = load
        return good


def _cell(row: Sequence[str], column: str) -> float:
    """Return the number in a column of `HEAD`."""
    return float(row[HEAD.index(column)].replace(",", ""))


def stored_queue() -> Page:
    """Return the stored simulation.

    Raises:
        InputError: the file cannot be read, or is no such page.
    """
    remedy = f"make it with benchmarks/simulate_queue.py --json {QUEUE.relative_to(ROOT)}"
    with os_errors(InputError, f"cannot read {QUEUE}", remedy=remedy):
        content = QUEUE.read_bytes()
    try:
        page = Page.of(json.loads(content))
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{QUEUE} is no page of a simulation", remedy=remedy) from error
    if page.head != HEAD:
        raise InputError(f"{QUEUE} has the columns {page.head}, not {HEAD}", remedy=remedy)
    return page
