"""The simulated queue beside the formulas of queueing theory, with fixed seeds."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from measured import STORED, read
from pages import Page
from simulate_queue import LOADS, MAX_QUEUE, MIX, WORKERS, Mix, mix_of, simulate, waits_of

from qa_onnx import InputError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "simulate_queue.py"
ARRIVALS = 100_000
MANY = 400_000  # where the times are the stored ones: whatever is measured next, chance is far below the tolerance
# Service times whose mean is 1 ms: quantiles of the exponential distribution, in place of a measurement.
EXPONENTIAL = Mix((1.0,), (-np.log1p(-(np.arange(20_000) + 0.5) / 20_000),))
FIXED = Mix((1.0,), (np.ones(1),))


def stored_mix() -> Mix:
    return mix_of(read(STORED).of(1), MIX)


def erlang_c(workers: int, load: float) -> float:
    """Probability that a question waits in M/M/c (A. K. Erlang, 1917), by the recursion of Erlang's B."""
    offered, blocked = load * workers, 1.0
    for count in range(1, workers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - load * (1 - blocked))


def pollaczek_khinchine(mix: Mix, load: float) -> float:
    """Mean wait in M/G/1 in ms (Pollaczek 1930, Khinchine 1932): rate times E[S^2] / 2 (1 - load)."""
    return load / mix.mean * mix.mean_square / (2 * (1 - load))


@pytest.mark.parametrize("workers", [1, 2, 8, 64])
@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_exponential_service_waits_as_erlang_says(workers: int, load: float) -> None:
    queue = simulate(EXPONENTIAL, load=load, workers=workers, most=None, arrivals=ARRIVALS, seed=3)
    chance = erlang_c(workers, load)
    expected = chance * EXPONENTIAL.mean / (workers * (1 - load))
    assert queue.wait == pytest.approx(expected, rel=0.1, abs=0.001)
    assert float((queue.waits > 0).mean()) == pytest.approx(chance, rel=0.05, abs=0.002)
    assert abs(queue.wait - expected) < 3 * queue.margin + 1e-6  # the margin is that of the figure


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_percentiles_are_those_of_one_worker_with_exponential_service(load: float) -> None:
    """In M/M/1 the time from arrival to answer is exponential, with mean 1 / (1 - load) of a service time."""
    queue = simulate(EXPONENTIAL, load=load, workers=1, most=None, arrivals=ARRIVALS, seed=1)
    for share in (0.5, 0.9, 0.99):
        assert queue.percentile(share) == pytest.approx(-math.log(1 - share) / (1 - load), rel=0.08)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8, 0.9])
def test_fixed_service_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    queue = simulate(FIXED, load=load, workers=1, most=None, arrivals=ARRIVALS, seed=1)
    assert pollaczek_khinchine(FIXED, load) == load / (2 * (1 - load))  # half of M/M/1
    assert queue.wait == pytest.approx(load / (2 * (1 - load)), rel=0.05)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_stored_times_wait_as_pollaczek_and_khinchine_say(load: float) -> None:
    mix = stored_mix()
    queue = simulate(mix, load=load, workers=1, most=None, arrivals=MANY, seed=1)
    assert queue.wait == pytest.approx(pollaczek_khinchine(mix, load), rel=0.1)
    assert float(queue.services.mean()) == pytest.approx(mix.mean, rel=0.02)


@pytest.mark.parametrize("load", [0.9, 1.5])
def test_a_full_queue_refuses_as_erlangs_b_says(load: float) -> None:
    """With no place to wait (M/G/c/c) the share refused does not depend on how service times are distributed."""
    offered, blocked = 4 * load, 1.0
    for count in range(1, 5):
        blocked = offered * blocked / (count + offered * blocked)
    for mix in (EXPONENTIAL, FIXED, stored_mix()):
        queue = simulate(mix, load=load, workers=4, most=4, arrivals=MANY, seed=1)
        assert queue.refused == pytest.approx(blocked, rel=0.04)
        assert queue.wait == 0


def test_a_limited_queue_refuses_as_theory_says() -> None:
    """M/M/1/K: of N = K + 1 states the last has probability (1 - load) load^K / (1 - load^(K + 1))."""
    queue = simulate(EXPONENTIAL, load=0.8, workers=1, most=5, arrivals=ARRIVALS, seed=1)
    assert queue.refused == pytest.approx(0.2 * 0.8**5 / (1 - 0.8**6), rel=0.05)


@pytest.mark.parametrize("workers", [1, 16])
def test_a_surge_is_refused_down_to_what_the_workers_can_do(workers: int) -> None:
    queue = simulate(stored_mix(), load=1.5, workers=workers, most=64 * workers, arrivals=MANY, seed=1)
    assert queue.refused == pytest.approx(1 - 1 / 1.5, abs=0.01)


def test_waits_by_hand() -> None:
    arrivals, services = np.array([0.0, 1.0, 2.0, 3.0, 20.0]), np.array([5.0, 5.0, 1.0, 1.0, 1.0])
    assert waits_of(arrivals, services, workers=1, most=None).tolist() == [0, 4, 8, 8, 0]
    assert waits_of(arrivals, services, workers=2, most=None).tolist() == [0, 0, 3, 3, 0]
    refused = waits_of(arrivals, services, workers=1, most=2)
    assert np.isnan(refused).tolist() == [False, False, True, True, False]
    assert refused[[0, 1, 4]].tolist() == [0, 4, 0]
    # The place of one that is done at this very moment is free.
    assert waits_of(np.array([0.0, 1.0]), np.array([1.0, 1.0]), workers=1, most=1).tolist() == [0, 0]


def test_a_mix_draws_its_shares_and_all_of_its_times() -> None:
    mix = Mix((0.75, 0.25), (np.array([1.0, 2.0]), np.array([10.0])))
    drawn = mix.draw(np.random.default_rng(0), 40_000)
    shares = [float((drawn == value).mean()) for value in (1, 2, 10)]
    assert shares == pytest.approx([0.375, 0.375, 0.25], abs=0.01)
    assert mix.mean == 3.625
    assert mix.mean_square == 0.75 * 2.5 + 25


def test_one_seed_gives_one_result() -> None:
    mix = stored_mix()

    def wait(seed: int) -> float:
        return simulate(mix, load=0.8, workers=2, most=128, arrivals=1000, seed=seed).wait

    assert wait(1) == wait(1)
    assert not math.isclose(wait(1), wait(2))


def test_the_limit_is_that_of_the_server() -> None:
    from qa_onnx.serve.settings import Settings

    assert Settings().max_queue == MAX_QUEUE


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command(tmp_path: Path) -> None:
    done = run("--quick", "--json", tmp_path / "page.json")
    assert done.returncode == 0, done.stderr
    page = Page.of(json.loads((tmp_path / "page.json").read_text()))
    places = [(workers, load) for workers in WORKERS.split(",") for load in LOADS.split(",")]
    assert [row[:2] for row in page.rows] == places
    assert page.command == "python benchmarks/simulate_queue.py --quick"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mix", "100:1"], "--mix has texts of 100 words; measured are those of [32, 64,"),
        (["--mix", "128"], "--mix holds '128': write WORDS:SHARE"),
        (["--mix", "128:-1,64:2"], "no share may be negative"),
        (["--mix", "128:0"], "one must be more than 0"),
        (["--mix", "128:nan"], "no share may be negative"),
        (["--loads", "1.0", "--max-queue", "0"], "--loads holds 1.0; each must be from 0.01 to 0.99"),
        (["--loads", "half"], "--loads holds 'half': write numbers with commas"),
        (["--workers", "0"], "--workers holds 0; each must be from 1 to 1000"),
        (["--workers", "1.5"], "--workers holds '1.5': write whole numbers with commas"),
        (["--arrivals", "5"], "--arrivals is 5; it must be at least 100"),
        (["--max-queue", "-1"], "--max-queue is -1; it must be at least 0"),
        (["--threads", "77"], "no service times with 77 threads: the measurement has those with [1, "),
        (["--times", "none.json"], "cannot read none.json: No such file or directory"),
        (["--times", __file__], "is no measurement of service times: Expected `object`"),
    ],
)
def test_wrong_usage_is_refused_with_the_reason(words: list[str], message: str) -> None:
    refused = run(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert message in " ".join(refused.stderr.split())


def test_an_unknown_number_of_threads_is_an_error() -> None:
    with pytest.raises(InputError, match="no service times with 77 threads"):
        read(STORED).of(77)
