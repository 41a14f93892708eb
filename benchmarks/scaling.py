"""Compute the tables of docs/scaling.md from the stored measurement and the stored simulation.

    python benchmarks/scaling.py [--check] [--price 0.04]

    results/service-times.json, results/queue.json --> tables --> docs/scaling.md, between its comments

With --check nothing is written, and the exit code is 1 if the page is not what the files say. With --price the
costs are printed for another price of a core-hour, and nothing is written either. After a new measurement run
simulate_queue.py --json benchmarks/results/queue.json, then this.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cost_model import (
    AUTOSCALER,
    CORES,
    ENTRY,
    GIGABIT,
    LISTED,
    NODES,
    PRICE,
    ROWS,
    SHARD,
    SLOWER,
    SURGE,
    USEFUL,
    Plan,
    stored_queue,
)
from environments import ROOT
from measured import STORED, read
from pages import write
from simulate_queue import MAX_QUEUE, MIX, shares_of

from qa_onnx.bench.document import ReportTable, bullets
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = ROOT / "docs" / "scaling.md"
BLOCK = re.compile(
    r"(<!-- made by benchmarks/scaling\.py: (\w+) -->\n).*?(\n<!-- end of what is made -->)", re.DOTALL
)


def assumptions(plan: Plan) -> str:
    """Return what was not measured."""
    mix = ", ".join(f"{100 * share:.0f} % of {words:,} words" for words, share in shares_of(MIX).items())
    return bullets(
        (
            f"the mix of texts: {mix} (`MIX`), {plan.row_bytes:,.0f} characters with the question on average, "
            "each text asked about once",
            f"a node has {CORES} cores like the measured one, with as much memory and bandwidth each (`CORES`)",
            f"the input has {ROWS:,} rows (`ROWS`) in shards of {SHARD:,}, as `qa-onnx map` makes them (`SHARD`)",
            f"{100 * USEFUL:.0f} % of the core-hours answer questions; the others are starting, reading, writing, "
            "failures, and waiting for the last shard (`USEFUL`)",
            f"a core-hour costs {PRICE} of your currency (`PRICE`): an example, put in your own",
            f"a link has 1 Gbit/s, all of it for this (`GIGABIT`); a shard is {ENTRY} bytes in the list of shards "
            f"(`ENTRY`), and an object store names {LISTED:,} objects an answer (`LISTED`)",
            f"p50 and p99 are good up to {SLOWER} times what they are without a wait (`SLOWER`)",
            f"an autoscaler adds a node {AUTOSCALER} s after the load rose (`AUTOSCALER`), and a surge is {SURGE} "
            "times what the servers can do (`SURGE`)",
        )
    )


def measured(plan: Plan) -> str:
    """Return what was measured, by length."""
    times, single = plan.times, plan.times.of(1)
    most = max(one.threads for one in times.single)
    all_cores = times.of(most)
    head = ("words", "tokens", "windows", "ms, 1 thread", "p99", f"ms, {most} threads", "questions a core-second")
    rows = [
        (
            f"{batch.words:,}",
            f"{single[batch.words].tokens:,.0f}",
            f"{single[batch.words].windows:.1f}",
            f"{single[batch.words].median_ms:,.1f}",
            f"{np.percentile(single[batch.words].milliseconds, 99):,.1f}",
            f"{all_cores[batch.words].median_ms:,.1f}",
            f"{batch.per_core_second:,.1f}",
        )
        for batch in times.batch
    ]
    source = (
        f"{times.bundle} in {times.precision}, {times.backend}, {times.machine['cpu']}, {times.created[:10]}"
        f"{f', commit {times.commit}' if times.commit else ''} (`{times.command}`)."
    )
    noise = (
        f" A busy machine: {'; '.join(times.noise)}, so times by the clock are too long." if times.noise else ""
    )
    return f"{source}{noise}\n\n{ReportTable(head, rows)}\n\n{bullets(process_facts(plan))}"


def process_facts(plan: Plan) -> Iterable[str]:
    """Return what a process takes, and what a node must have."""
    start, size = plan.times.start, plan.times.size
    total = size.bundle + (size.packages or 0)
    yield (
        f"memory: {start.loaded_mb:,.0f} MB a worker once loaded, {start.peak_mb:,.0f} MB at peak with "
        f"these texts; {CORES} workers of one core: {CORES * start.peak_mb / 1000:,.1f} GB"
    )
    yield (
        f"start of a worker: {start.import_s:.2f} s to import, {start.load_s:.2f} s to load, "
        f"{start.first_s:.2f} s for the first answer"
    )
    yield (
        f"bundle: {size.bundle / 1e6:,.0f} MB, of which the graph that runs is {size.graph / 1e6:,.0f}; with "
        f"packages, without Python: {total / 1e6:,.0f} MB"
    )


def load(plan: Plan) -> str:
    """Return the loads to plan for."""
    loads = sorted(plan.times_to_answer(plan.workers[0]))
    head = ("workers that share a queue", *(f"{one:g}" for one in loads), "plan for")
    rows = []
    for workers in plan.workers:
        found, best = plan.times_to_answer(workers), plan.planned(workers)
        cells = (f"{p50:,.0f} / {p99:,.0f}" for p50, p99 in (found[one] for one in loads))
        rows.append((str(workers), *cells, f"{best:g}" if best else "less"))
    notes = bullets(
        (*plan.queue.notes, f"mean waits at load {loads[-1]:g} are known to {100 * plan.margin:.0f} %")
    )
    title = "Milliseconds from arrival to answer, p50 / p99, by load:"
    return f"{title}\n\n{ReportTable(head, rows)}\n\n{notes}"


def serving(plan: Plan) -> str:
    """Return questions a second at the planned load, for nodes that share a queue and for workers that do not."""
    alone, shared = plan.planned(1), plan.planned(CORES)
    capacity = 1000 / plan.mix.mean
    head = ("nodes", f"questions/s, a queue a node (load {shared:g})", f"a queue a worker (load {alone:g})")
    rows = [
        (f"{nodes:,}", *(f"{capacity * CORES * nodes * one:,.0f}" for one in (shared, alone))) for nodes in NODES
    ]
    full = MAX_QUEUE * plan.mix.mean / 1000 / (SURGE - 1)
    surge = (
        f"At {SURGE} times what the servers can do, a queue of {MAX_QUEUE} a worker is full after {full:.1f} s; "
        f"from then until the autoscaler's node is there, {AUTOSCALER} s after the load rose, "
        f"{100 * (1 - 1 / SURGE):.0f} % of the questions get 429."
    )
    return f"{ReportTable(head, rows, texts=())}\n\n{surge}"


def cost(plan: Plan) -> str:
    """Return core-hours and price of a million answers."""
    rows = []
    for name, rate in (*((f"{words:,} words", one) for words, one in plan.rates.items()), ("the mix", plan.rate)):
        hours = 1e6 / rate / 3600 / USEFUL
        rows.append((name, f"{rate:,.1f}", f"{hours:,.1f}", f"{hours * plan.price:,.2f}"))
    head = ("texts", "questions a core-second", "core-hours a million", f"at {plan.price:g} a core-hour")
    return str(ReportTable(head, rows))


def batch(plan: Plan) -> str:
    """Return hours for all rows."""
    core_hours = plan.hours(1) * CORES
    head = ("nodes", "cores", "hours", "core-hours", "cost")
    rows = [
        (
            f"{nodes:,}",
            f"{nodes * CORES:,}",
            f"{plan.hours(nodes):,.1f}",
            f"{core_hours:,.0f}",
            f"{core_hours * plan.price:,.0f}",
        )
        for nodes in NODES
    ]
    return str(ReportTable(head, rows, texts=()))


def demands(plan: Plan) -> str:
    """Return what a run over all rows demands of everything around the nodes."""
    shard_s = SHARD / plan.rate
    size = plan.times.size.bundle + (plan.times.size.packages or 0)
    head = (
        "nodes",
        "input, Gbit/s",
        "shards a second",
        "last shard, % of the run",
        "bundle from one link, min",
        "with packages, min",
    )
    rows = []
    for nodes in NODES:
        seconds = 3600 * plan.hours(nodes)
        rows.append(
            (
                f"{nodes:,}",
                f"{ROWS * plan.row_bytes / seconds / GIGABIT:,.3f}",
                f"{ROWS / SHARD / seconds:,.2f}",
                f"{100 * shard_s / seconds:,.1f}",
                f"{nodes * plan.times.size.bundle / GIGABIT / 60:,.2f}",
                f"{nodes * size / GIGABIT / 60:,.2f}",
            )
        )
    facts = (
        f"the whole input is {ROWS * plan.row_bytes / 1e12:,.2f} TB; one link reads it in "
        f"{ROWS * plan.row_bytes / GIGABIT / 3600:,.1f} h",
        f"a shard of {SHARD:,} rows takes a core {shard_s / 60:,.1f} min",
        f"{ROWS // SHARD:,} shards: a list of {ROWS / SHARD * ENTRY / 1e6:,.0f} MB, or "
        f"{ROWS // SHARD // LISTED:,} requests to list them",
        f"each node with a link of its own has bundle and packages after {size / GIGABIT:,.1f} s",
    )
    return f"{ReportTable(head, rows, texts=())}\n\n{bullets(facts)}"


BLOCKS = {
    "assumptions": assumptions,
    "measured": measured,
    "load": load,
    "serving": serving,
    "cost": cost,
    "batch": batch,
    "demands": demands,
}


def filled(page: str, plan: Plan) -> str:
    """Return the page with its tables computed again.

    Raises:
        SystemExit: a table's place is missing or unknown.
    """
    names = [name for _, name, _ in BLOCK.findall(page)]
    if sorted(names) != sorted(BLOCKS):
        raise SystemExit(f"{PAGE} has places for {names}; it must have one for each of {list(BLOCKS)}")
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]](plan)}\n{found[3]}", page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is outdated")
    parser.add_argument("--price", type=float, help="of a core-hour: print the costs, and write nothing")
    chosen = parser.parse_args()
    if chosen.price is not None and not 0 <= chosen.price < math.inf:
        parser.error(f"--price is {chosen.price:g}; it must be 0 or more")
    try:
        plan = Plan(read(STORED), stored_queue(), PRICE if chosen.price is None else chosen.price)
    except InputError as error:
        sys.exit(f"error: {error}")
    if chosen.price is not None:
        print(cost(plan), batch(plan), sep="\n\n")
        return 0
    page = PAGE.read_text(encoding="utf-8")
    new = filled(page, plan)
    if chosen.check:
        outdated = new != page
        print(f"{PAGE} is outdated: run python benchmarks/scaling.py" if outdated else f"{PAGE} is up to date")
        return int(outdated)
    write(Path(PAGE), new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
