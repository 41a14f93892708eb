"""Measure the server under load, beside `Reader.predict` offline: throughput, latency at half of it, overload.

    python benchmarks/serve_load.py DATA [-b BUNDLE] [--precision P] [--questions 300] [--rounds 5]
                                    [--seconds 20] [--server-core N] [--client-core N]

DATA is a SQuAD file. The baseline and the server alternate on one core, each with one thread; this process, which
asks, is bound to another core if there is one. Every answer is compared with the baseline's. CPU time a question
is reported too, because other programs on the machine disturb it less. In int8 an answer may differ where logits
are close, since a batch has one range of activations; in fp32 none does.

1. throughput: 32 connections, each asks again when it has its answer; medians over the rounds, alternating order
2. half of it: questions arrive at random times (Poisson); latency from the time each was due, so a queue counts
3. three times of it: how many get 429, /health/live meanwhile, memory, and throughput afterwards
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from qa_onnx.data.squad import load

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 32
TICKS = os.sysconf("SC_CLK_TCK")

OFFLINE = """
import dataclasses, json, resource, sys, time
from qa_onnx import Example, Reader
bundle, precision = (value or None for value in sys.argv[1:3])
examples = [Example(*pair) for pair in json.load(sys.stdin)]
reader = Reader.load(bundle, precision=precision, threads=1)
options = dataclasses.replace(reader.options, n_best=1)
reader.predict(examples[: int(sys.argv[3])], options=options)
spent = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
before, started = spent(), time.perf_counter()
found = reader.predict(examples, options=options)
took, cpu = time.perf_counter() - started, spent() - before
answers = [reader.choose(prediction) for prediction in found]
print(json.dumps([took, cpu, [[answer.start, answer.end] if answer else None for answer in answers]]))
"""


@dataclass(frozen=True)
class Work:
    """Questions with their contexts, and the baseline's answer to each: [start, end], or None."""

    pairs: list[tuple[str, str]]
    expected: list[Any]


@dataclass
class Tally:
    """Counts, times and wrong answers of a run."""

    codes: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    same: int = 0
    wrong: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return a percentile of the times in milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Client:
    """A minimal HTTP/1.1 client, so that it keeps up with the server; connections are reused.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        self._port = int(url.rstrip("/").rpartition(":")[2])
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def exchange(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and body of the response."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        while self._idle:
            reader, writer = self._idle.pop()
            try:
                return await self._on(reader, writer, request)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()  # it had idled too long
        return await self._on(*await asyncio.open_connection("127.0.0.1", self._port), request)

    async def _on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[int, bytes]:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
        self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.close()


def main() -> None:
    """Run all three and print a line for each finding."""
    arguments = _arguments()
    golds = load(arguments.data, limit=arguments.questions, seed=1).golds
    pairs = [(gold.question, gold.context) for gold in golds]
    os.sched_setaffinity(0, {arguments.client_core})
    offline: list[tuple[float, float]] = []
    served: list[tuple[float, float]] = []
    work, total = Work(pairs, []), Tally()

    def baseline() -> None:
        took, cpu, answers = run_offline(arguments, pairs)
        offline.append((len(pairs) / took, cpu / len(pairs)))
        work.expected[:] = answers

    def server() -> None:
        with serving(arguments) as (url, pid):
            asyncio.run(closed(url, Work(pairs[:CONNECTIONS], []), Tally()))  # warm
            cpu, started = cpu_seconds(pid), time.perf_counter()
            asyncio.run(closed(url, work, total))
            took = time.perf_counter() - started
            served.append((len(pairs) / took, (cpu_seconds(pid) - cpu) / len(pairs)))

    baseline()
    offline.clear()  # the first one warmed the file cache
    for number in range(arguments.rounds):
        for part in (baseline, server) if number % 2 else (server, baseline):
            part()
    report_throughput(offline, served, total)
    rate = statistics.median(speed for speed, _ in served)
    with serving(arguments) as (url, pid):
        tally = asyncio.run(open_loop(url, work, rate / 2, arguments.seconds))
        print(
            f"at half, {rate / 2:.1f} a second for {arguments.seconds:g} s: p50 {tally.percentile(0.5):.0f} ms, "
            f"p99 {tally.percentile(0.99):.0f} ms, {tally.codes}, {tally.same} answers the same, "
            f"{len(tally.wrong)} not"
        )
        overload(url, pid, work, rate, 2 * arguments.seconds)


def report_throughput(offline: list[tuple[float, float]], served: list[tuple[float, float]], total: Tally) -> None:
    """Print medians, and the median of the ratios of neighbouring runs."""
    ratios = [s[0] / o[0] for s, o in zip(served, offline, strict=True)]
    costs = [o[1] / s[1] for s, o in zip(served, offline, strict=True)]
    for name, runs in (("offline", offline), ("served", served)):
        speed, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:8} {speed:6.1f} questions a second, {1000 * cpu:6.1f} processor ms a question")
    print(
        f"served / offline: {100 * statistics.median(ratios):.1f} % by the clock ({100 * min(ratios):.1f} to "
        f"{100 * max(ratios):.1f}), {100 * statistics.median(costs):.1f} % by processor time "
        f"({100 * min(costs):.1f} to {100 * max(costs):.1f})"
    )
    print(f"answers: {total.same} the same, {len(total.wrong)} not, codes {total.codes}; {total.wrong[:3]}")


def overload(url: str, pid: int, work: Work, rate: float, seconds: float) -> None:
    """Ask three times as much as can be answered; watch health, memory and the time after it."""
    before = resident_mb(pid)
    tally, health, sizes = asyncio.run(_overload(url, pid, work, 3 * rate, seconds))
    middle = len(sizes) // 2
    print(
        f"at three times, {3 * rate:.1f} a second for {seconds:g} s: {tally.codes}, answered ones p50 "
        f"{tally.percentile(0.5):.0f} ms, p99 {tally.percentile(0.99):.0f} ms, {len(tally.wrong)} not the same; "
        f"/health/live p50 {1000 * statistics.median(health):.0f} ms, longest {1000 * max(health):.0f} ms of "
        f"{len(health)}"
    )
    print(
        f"memory: {before:.0f} MB before, {max(sizes[:middle]):.0f} MB at most in the first half, "
        f"{max(sizes[middle:]):.0f} MB in the second, {resident_mb(pid):.0f} MB after"
    )
    after = Tally()
    started = time.perf_counter()
    asyncio.run(closed(url, work, after))
    print(f"afterwards {len(work.pairs) / (time.perf_counter() - started):.1f} questions a second, {after.codes}")


async def _overload(
    url: str, pid: int, work: Work, rate: float, seconds: float
) -> tuple[Tally, list[float], list[float]]:
    health: list[float] = []
    sizes: list[float] = [resident_mb(pid)]

    async def watch() -> None:
        client = Client(url)
        while True:
            started = time.perf_counter()
            code, _ = await client.exchange("GET", "/health/live")
            assert code == 200, code
            health.append(time.perf_counter() - started)
            sizes.append(resident_mb(pid))
            if over.is_set():
                break
            await asyncio.sleep(0.1)
        client.close()

    over = asyncio.Event()
    watching = asyncio.create_task(watch())
    tally = await open_loop(url, work, rate, seconds)
    over.set()
    await watching
    return tally, health, sizes


async def closed(url: str, work: Work, tally: Tally) -> None:
    """Ask each question once, over a fixed number of connections."""
    waiting = iter(range(len(work.pairs)))
    client = Client(url)

    async def ask_on() -> None:
        for index in waiting:
            await ask(client, work, index, tally, time.perf_counter())

    await asyncio.gather(*(ask_on() for _ in range(CONNECTIONS)))
    client.close()


async def open_loop(url: str, work: Work, rate: float, seconds: float) -> Tally:
    """Ask at random times at a mean rate, whether or not answers come."""
    tally, chance, client = Tally(), random.Random(1), Client(url)
    tasks: list[asyncio.Task[None]] = []
    due = started = time.perf_counter()
    while due < started + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(client, work, len(tasks) % len(work.pairs), tally, due)))
        due += chance.expovariate(rate)
    await asyncio.gather(*tasks)
    client.close()
    return tally


async def ask(client: Client, work: Work, index: int, tally: Tally, due: float) -> None:
    """Ask one question and compare its answer with the baseline's."""
    question, context = work.pairs[index]
    body = json.dumps({"question": question, "context": context}).encode()
    code, content = await client.exchange("POST", "/v1/answer", body)
    tally.codes[code] = tally.codes.get(code, 0) + 1
    if code != 200:
        return
    tally.seconds.append(time.perf_counter() - due)
    answer = json.loads(content)["answer"]
    place = None if answer is None else [answer["start"], answer["end"]]
    if place is not None:
        assert _quoted(context, place) == repr(answer["text"]), "the offsets are not those of the text"
    if work.expected:
        expected = work.expected[index]
        if place == expected:
            tally.same += 1
        else:
            tally.wrong.append(f"{_quoted(context, place)} for {_quoted(context, expected)}")


def _quoted(context: str, place: list[int] | None) -> str:
    """Return an answer in quotes, or "no answer"."""
    return "no answer" if place is None else repr(context[place[0] : place[1]])


def run_offline(arguments: argparse.Namespace, pairs: list[Any]) -> tuple[float, float, list[Any]]:
    """Return seconds, CPU seconds and answers of `Reader.predict` in its own process."""
    command = [sys.executable, "-c", OFFLINE, arguments.bundle or "", arguments.precision or "", str(CONNECTIONS)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        os.sched_setaffinity(process.pid, {arguments.server_core})  # it has one thread yet
        printed, _ = process.communicate(json.dumps(pairs))
    if process.returncode:
        sys.exit(f"the baseline ended with exit code {process.returncode}")
    took, cpu, answers = json.loads(printed)
    return took, cpu, answers


@contextmanager
def serving(arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Start a server on its core; yield its address and process when it is ready."""
    command = [sys.executable, "-m", "qa_onnx", "serve", "--port", "0", "--threads", "1"]
    command += ["-b", arguments.bundle] if arguments.bundle else []
    command += ["--precision", arguments.precision] if arguments.precision else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        os.sched_setaffinity(process.pid, {arguments.server_core})  # it has one thread yet
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        while httpx.get(f"{url}health/ready", trust_env=False, timeout=60).status_code != 200:
            time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid: int) -> float:
    """Return the resident megabytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _arguments() -> argparse.Namespace:
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-b", "--bundle")
    parser.add_argument("--precision")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--server-core", type=int, choices=cores, default=cores[0])
    parser.add_argument("--client-core", type=int, choices=cores, default=cores[-1])
    return parser.parse_args()


if __name__ == "__main__":
    main()
