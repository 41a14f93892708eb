"""docs/scaling.md says what the stored measurement and the stored simulation say, and they fit each other."""

from __future__ import annotations

import dataclasses
import re
import statistics
import subprocess
import sys
from pathlib import Path

import cost_model
import pytest
import scaling
from cost_model import Plan, stored_queue
from measured import STORED, read, to_json
from simulate_queue import ARRIVALS, LOADS, MAX_QUEUE, MIX, WORKERS, mix_of, row, shares_of

from qa_onnx import InputError

TIMES = read(STORED)
QUEUE = stored_queue()
PLAN = Plan(TIMES, QUEUE)
TEXT = scaling.PAGE.read_text(encoding="utf-8")
SCRIPT = Path(scaling.__file__)


def table(name: str) -> list[list[str]]:
    """Cells of the table of a block of the page, without its head."""
    block = re.search(rf"scaling\.py: {name} -->\n(.*?)<!-- end", TEXT, re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_the_page_is_what_the_files_say() -> None:
    assert scaling.filled(TEXT, PLAN) == TEXT, "run python benchmarks/scaling.py"


def test_another_measurement_would_change_every_table() -> None:
    slower = dataclasses.replace(
        TIMES,
        created="2030-01-01",
        size=dataclasses.replace(TIMES.size, bundle=3 * TIMES.size.bundle),
        batch=tuple(dataclasses.replace(one, per_core_second=one.per_core_second / 3) for one in TIMES.batch),
        single=tuple(
            dataclasses.replace(
                one, characters=2 * one.characters, milliseconds=tuple(3 * time for time in one.milliseconds)
            )
            for one in TIMES.single
        ),
    )
    other = Plan(slower, dataclasses.replace(QUEUE, notes=("another",)))
    assert [name for name, make in scaling.BLOCKS.items() if make(other) == make(PLAN)] == []


def test_the_costs_by_hand() -> None:
    rates = {one.words: one.per_core_second for one in TIMES.batch}
    rows = table("cost")
    assert [row[0] for row in rows] == [*(f"{words:,} words" for words in rates), "the mix"]
    for cells, rate in zip(rows, rates.values(), strict=False):
        core_hours = 1_000_000 / rate / 3600 / 0.8
        assert number(cells[2]) == pytest.approx(core_hours, abs=0.06)
        assert number(cells[3]) == pytest.approx(core_hours * 0.04, abs=0.006)
    # A million of the mix is as much work as its parts.
    parts = {words: number(cells[2]) for words, cells in zip(rates, rows, strict=False)}
    expected = sum(share * parts[words] for words, share in shares_of(MIX).items())
    assert number(rows[-1][2]) == pytest.approx(expected, abs=0.1)


def test_the_hours_by_hand() -> None:
    million = number(table("cost")[-1][2])
    for cells in table("batch"):
        nodes, cores, hours, core_hours, cost = map(number, cells)
        assert cores == 16 * nodes
        assert core_hours == pytest.approx(1000 * million, rel=0.02)
        assert hours == pytest.approx(core_hours / cores, abs=0.06)
        assert cost == pytest.approx(0.04 * core_hours, abs=1)


def test_the_demands_by_hand() -> None:
    hours = {cells[0]: number(cells[3]) / number(cells[1]) for cells in table("batch")}
    size = (TIMES.size.bundle, TIMES.size.bundle + (TIMES.size.packages or 0))
    for nodes, gigabits, shards, _, bundle, image in table("demands"):
        seconds = 3600 * hours[nodes]
        assert number(shards) == pytest.approx(500_000 / seconds, rel=0.01, abs=0.006)
        assert number(gigabits) == pytest.approx(8 * PLAN.row_bytes / seconds, rel=0.01, abs=0.001)
        expected = [8 * number(nodes) * one / 1e9 / 60 for one in size]
        assert [number(bundle), number(image)] == pytest.approx(expected, abs=0.006)


def test_the_loads_to_plan_for_are_those_of_the_table() -> None:
    loads = [float(load) for load in LOADS.split(",")]
    mix = mix_of(TIMES.of(1), MIX)
    most = [1.5 * mix.percentile(share) for share in (0.5, 0.99)]
    for cells in table("load"):
        fits = [
            all(number(one) <= limit for one, limit in zip(cell.split(" / "), most, strict=True))
            for cell in cells[1:-1]
        ]
        good = loads[: fits.index(False)] if False in fits else loads
        assert cells[-1] == (f"{max(good):g}" if good else "less")


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (16, 0.8)])
def test_the_stored_simulation_is_of_the_stored_measurement(workers: int, load: float) -> None:
    stored = {row[:2]: row for row in QUEUE.rows}
    assert list(stored) == [(count, one) for count in WORKERS.split(",") for one in LOADS.split(",")]
    mix = mix_of(TIMES.of(1), MIX)
    again = row(mix, load=load, workers=workers, max_queue=MAX_QUEUE, arrivals=ARRIVALS, seed=0)
    assert stored[str(workers), f"{load:g}"] == again, "run benchmarks/simulate_queue.py --json"


def test_the_stored_measurement_is_whole() -> None:
    assert to_json(TIMES) == STORED.read_text(encoding="utf-8")
    assert min(len(one.milliseconds) for one in TIMES.single) >= 50
    for one in TIMES.single:
        assert one.median_ms == pytest.approx(statistics.median(one.milliseconds), abs=0.006)
    for batch in TIMES.batch:
        spent = statistics.median(batch.core_seconds)
        assert batch.per_core_second == pytest.approx(batch.questions / spent, abs=0.006)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_check_and_the_prices() -> None:
    done = run("--check")
    assert (done.returncode, done.stdout) == (0, f"{scaling.PAGE} is up to date\n")
    costs = run("--price", "1").stdout
    million = scaling.cost(dataclasses.replace(PLAN, price=1))
    assert million in costs
    assert "at 1 a core-hour" in million
    assert scaling.PAGE.read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize("price", ["-1", "nan", "inf"])
def test_a_price_that_is_none_is_refused(price: str) -> None:
    refused = run(f"--price={price}")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"--price is {float(price):g}; it must be 0 or more" in refused.stderr


def test_a_page_without_a_table_is_refused() -> None:
    with pytest.raises(SystemExit, match="it must have one for each of"):
        scaling.filled(TEXT.replace("scaling.py: cost", "scaling.py: costs"), PLAN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*queue.json: No such file or directory: make it with"),
        ("[]", "is no page of a simulation: make it with benchmarks/simulate_queue.py"),
        ("{", "is no page of a simulation"),
        (dataclasses.replace(QUEUE, head=("load",)).to_json(), r"has the columns \('load',\), not"),
    ],
)
def test_a_simulation_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    path = tmp_path / "queue.json"
    monkeypatch.setattr(cost_model, "ROOT", tmp_path)
    monkeypatch.setattr(cost_model, "QUEUE", path)
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        stored_queue()
