"""Simulate servers under load: how long questions wait, and how many are refused, by load and workers.

    python benchmarks/simulate_queue.py [--mix 128:9,1024:1] [--loads 0.5,0.8] [--workers 1,16] [--max-queue 64]

Questions arrive at random times (Poisson). Each takes a time drawn from a stored measurement
(results/service-times.json, one thread), by the shares of text lengths in the mix. Workers of one core each serve
one queue in the order of arrival; a question that finds `--max-queue` times the workers waiting or running is
refused, as the server does with 429. Nothing is measured, so a busy machine changes no figure.

Left out: batches of several questions, the overtaking of long texts by short ones, requests with many questions,
time limits (504), what HTTP takes, texts that were asked about before, and clients that ask again. Workers that do
not share a queue are as many queues of one worker, which the rows of 1 show: the processes of `qa-onnx serve
--workers N`, or servers behind a balancer that picks them at random.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from measured import STORED, Single, read
from pages import Page, finish, parser

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Number = TypeVar("Number", int, float)
MIX = "64:20,128:50,256:20,512:8,2048:2"
LOADS = "0.1,0.2,0.3,0.5,0.6,0.7,0.8,0.9,0.95"
WORKERS = "1,2,4,8,16,64"
ARRIVALS, QUICK = 200_000, 2_000
MAX_QUEUE = 64  # the default of `qa-onnx serve --max-queue`
HEAD = ("workers", "load", "questions/s", "wait ms, mean", "95 % +-", "p50 ms", "p99 ms", "refused %")
_WARM_UP = 0.1  # share of the arrivals, at the beginning, that is not counted
_BATCHES = 20  # of consecutive arrivals, whose means give the interval


@dataclass(frozen=True)
class Mix:
    """Service times by length of the text, and how often each length comes.

    Attributes:
        shares: of each length; their sum is 1.
        times: service times of each length, in ms.
    """

    shares: tuple[float, ...]
    times: tuple[Floats, ...]

    @property
    def mean(self) -> float:
        """Mean service time in ms."""
        return float(sum(share * times.mean() for share, times in zip(self.shares, self.times, strict=True)))

    @property
    def mean_square(self) -> float:
        """Mean of the squared service time, in ms^2."""
        return float(sum(share * (times**2).mean() for share, times in zip(self.shares, self.times, strict=True)))

    def percentile(self, share: float) -> float:
        """Return a percentile of the service time in ms: what a question takes that never waits."""
        return float(np.percentile(self.draw(np.random.default_rng(0), ARRIVALS), 100 * share))

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """Return service times in ms: float64 (count,)."""
        length = np.searchsorted(np.cumsum(self.shares)[:-1], random.random(count), side="right")
        place = random.random(count)
        drawn = np.empty(count)
        for number, times in enumerate(self.times):
            chosen = length == number
            drawn[chosen] = times[(place[chosen] * len(times)).astype(np.int64)]
        return drawn


@dataclass(frozen=True)
class Queue:
    """What questions met, without the first ones.

    Attributes:
        waits: from arrival to the start of its service, in ms; NaN where it was refused: float64 (arrivals,).
        services: service times in ms: float64 (arrivals,).
    """

    waits: Floats
    services: Floats

    @property
    def refused(self) -> float:
        """Share of the questions that were refused."""
        return float(np.isnan(self.waits).mean())

    @property
    def wait(self) -> float:
        """Mean wait of the others in ms."""
        return float(np.nanmean(self.waits))

    @property
    def margin(self) -> float:
        """Half of the 95 % interval of `wait`, from the means of batches of arrivals, in ms."""
        means = [float(np.nanmean(part)) for part in np.array_split(self.waits, _BATCHES)]
        return float(1.96 * np.std(means, ddof=1) / math.sqrt(_BATCHES))

    def percentile(self, share: float) -> float:
        """Return a percentile of the time from arrival to answer in ms, of questions that were not refused."""
        return float(np.nanpercentile(self.waits + self.services, 100 * share))


def simulate(mix: Mix, *, load: float, workers: int, most: int | None, arrivals: int, seed: int) -> Queue:
    """Return what questions meet at a load.

    Args:
        mix: service times.
        load: work that arrives, as a share of what the workers can do; with a `most` it may be 1 or more.
        workers: number of cores.
        most: questions that wait or run at most, of all workers together; None: any number.
        arrivals: number of questions.
        seed: of all random numbers.
    """
    random = np.random.default_rng(seed)
    gaps = -np.log1p(-random.random(arrivals)) * (mix.mean / (load * workers))
    services = mix.draw(random, arrivals)
    waits = waits_of(np.cumsum(gaps), services, workers=workers, most=most)
    first = int(_WARM_UP * arrivals)
    return Queue(waits[first:], services[first:])


def waits_of(arrivals: Floats, services: Floats, *, workers: int, most: int | None) -> Floats:
    """Return the wait of each question in the order of arrival; NaN where it is refused.

    Args:
        arrivals: times of arrival, rising: float64 (n,).
        services: service times: float64 (n,).
        workers: number of cores.
        most: questions that wait or run at most; None: any number.
    """
    free = [0.0] * workers  # heap: when each worker is done with what it has
    inside: list[float] = []  # heap: when each question that waits or runs is done
    waits = np.full(len(arrivals), np.nan)
    for number, (arrival, service) in enumerate(zip(arrivals.tolist(), services.tolist(), strict=True)):
        if most is not None:
            while inside and inside[0] <= arrival:
                heapq.heappop(inside)
            if len(inside) >= most:
                continue
        begins = max(arrival, free[0])
        waits[number] = begins - arrival
        heapq.heapreplace(free, begins + service)
        if most is not None:
            heapq.heappush(inside, begins + service)
    return waits


def shares_of(text: str) -> dict[int, float]:
    """Return the shares, by words, that a text such as "128:9,1024:1" names; their sum is 1.

    Raises:
        InputError: it is no such text.
    """
    shares: dict[int, float] = {}
    for part in text.split(","):
        words, _, share = part.partition(":")
        try:
            shares[int(words)] = float(share)
        except ValueError as error:
            raise InputError(f"--mix holds {part!r}", remedy="write WORDS:SHARE, such as 128:9,1024:1") from error
    if not all(0 <= share < math.inf for share in shares.values()) or not any(shares.values()):
        raise InputError(f"--mix is {text!r}; no share may be negative, and one must be more than 0")
    total = sum(shares.values())
    return {words: share / total for words, share in shares.items()}


def mix_of(singles: Mapping[int, Single], text: str) -> Mix:
    """Return the service times of a mix; see `shares_of`.

    Raises:
        InputError: it is no mix, or has a length that was not measured.
    """
    shares = shares_of(text)
    if unknown := sorted(set(shares) - set(singles)):
        raise InputError(f"--mix has texts of {unknown[0]} words; measured are those of {sorted(singles)} words")
    return Mix(tuple(shares.values()), tuple(np.array(singles[words].milliseconds) for words in shares))


def numbers(name: str, text: str, kind: type[Number], *, least: float, most: float) -> list[Number]:
    """Return the numbers of a list with commas.

    Raises:
        InputError: one is no number of that kind, or out of the bounds.
    """
    found = []
    what = "whole numbers" if kind is int else "numbers"
    for part in text.split(","):
        try:
            found.append(kind(part))
        except ValueError as error:
            raise InputError(f"{name} holds {part!r}", remedy=f"write {what} with commas between them") from error
        if not least <= found[-1] <= most:
            raise InputError(f"{name} holds {part}; each must be from {least:g} to {most:g}")
    return found


def row(
    mix: Mix, *, load: float, workers: int, max_queue: int | None, arrivals: int, seed: int
) -> tuple[str, ...]:
    """Return a row of the page, with the columns of `HEAD`."""
    most = None if max_queue is None else max_queue * workers
    queue = simulate(mix, load=load, workers=workers, most=most, arrivals=arrivals, seed=seed)
    figures = (queue.wait, queue.margin, queue.percentile(0.5), queue.percentile(0.99))
    rate = 1000 * load * workers / mix.mean
    cells = (f"{rate:,.1f}", *(f"{figure:,.1f}" for figure in figures), f"{100 * queue.refused:.2f}")
    return (str(workers), f"{load:g}", *cells)


def page_of(mix: Mix, rows: Sequence[tuple[str, ...]], *, notes: Sequence[str]) -> Page:
    """Return the table with what a reader must know."""
    spread = mix.mean_square / mix.mean**2 - 1
    return Page(
        title="Servers under load, simulated",
        head=HEAD,
        rows=tuple(rows),
        notes=(
            f"a question takes {mix.mean:.1f} ms of a core on average, squared coefficient of variation "
            f"{spread:.2f}; without a wait p50 is {mix.percentile(0.5):.1f} ms, p99 {mix.percentile(0.99):.1f} ms",
            "load: work that arrives, as a share of what the workers can do; p50 and p99: from arrival to answer, "
            "of questions that were not refused",
            *notes,
        ),
    )


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--times", type=Path, default=STORED, metavar="FILE", help="[default: the stored ones]")
    cli.add_argument("--threads", type=int, default=1, help="of a worker, if that was measured  [default: 1]")
    cli.add_argument("--mix", default=MIX, metavar="WORDS:SHARE,...", help=f"lengths of texts  [default: {MIX}]")
    cli.add_argument("--loads", default=LOADS, help=f"[default: {LOADS}]")
    cli.add_argument("--workers", default=WORKERS, help=f"[default: {WORKERS}]")
    cli.add_argument("--max-queue", type=int, default=MAX_QUEUE, help=f"a worker; 0: any  [default: {MAX_QUEUE}]")
    cli.add_argument("--arrivals", type=int, help=f"in each row  [default: {ARRIVALS:,}, quick {QUICK:,}]")
    cli.add_argument("--seed", type=int, default=0)
    chosen = cli.parse_args()
    arrivals = (QUICK if chosen.quick else ARRIVALS) if chosen.arrivals is None else chosen.arrivals
    for option, value, least in (("--arrivals", arrivals, 100), ("--max-queue", chosen.max_queue, 0)):
        if value < least:
            cli.error(f"{option} is {value}; it must be at least {least}")
    max_queue = chosen.max_queue or None
    try:
        loads = numbers("--loads", chosen.loads, float, least=0.01, most=0.99 if max_queue is None else 10)
        workers = numbers("--workers", chosen.workers, int, least=1, most=1000)
        times = read(chosen.times)
        mix = mix_of(times.of(chosen.threads), chosen.mix)
    except InputError as error:
        cli.error(str(error))
    rows = [
        row(mix, load=load, workers=count, max_queue=max_queue, arrivals=arrivals, seed=chosen.seed)
        for count in workers
        for load in loads
    ]
    limit = "any number may wait" if max_queue is None else f"at most {max_queue} a worker wait or run"
    notes = (
        f"mix {chosen.mix} (words:share); {limit}; {arrivals:,} arrivals a row, seed {chosen.seed}",
        f"service times of {times.created[:10]}: {times.bundle} {times.precision}, {times.machine['cpu']}",
    )
    finish(page_of(mix, rows, notes=notes), chosen.json)


if __name__ == "__main__":
    main()
