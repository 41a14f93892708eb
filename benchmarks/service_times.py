"""Measure service times of a bundle here: what simulate_queue.py and scaling.py plan with.

    python benchmarks/service_times.py [--bundle B --precision P] [--calls 120] [--out FILE]

Text to answer in ONNX Runtime on the CPU, by words of the text, for one question after another (with one thread
and with all), and for many in a call (one thread on one core, in CPU time too). Also the start of a process, its
memory, and the size of what a node needs. The texts are pieces of this project's own, each asked about once.
Writes benchmarks/results/service-times.json; with --quick nothing, unless --out names a file. Needs Linux.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from measured import STORED, Batch, ServiceTimes, Single, Size, Start, to_json
from pages import Page, command, finish, parser, write
from rivals import commit

from qa_onnx import Bundle, Example, Options, QaOnnxError, Windower
from qa_onnx.bench.compare import cpus_for
from qa_onnx.bench.contenders import list_contenders
from qa_onnx.bench.process import ContenderProcess
from qa_onnx.bench.questions import load_questions
from qa_onnx.bench.record import Noise, cpu_seconds, record
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from qa_onnx.bench.contenders import Contender

    Pair = tuple[str, str]

WORDS, WORDS_QUICK = (32, 64, 128, 256, 512, 1024, 2048), (32, 128)
CALLS, CALLS_QUICK = 120, 4
STARTS, STARTS_QUICK = 5, 1
BATCHES, BATCHES_QUICK = 5, 2
_TURN = 8  # calls of a length before the next length
_BATCH_WORDS, _BATCH_WORDS_QUICK = 12_288, 256  # of the texts of a call with many questions
_FEWEST = 8  # questions of such a call

START = """
import json, os, resource, sys, time
began = time.perf_counter()
from qa_onnx import Reader
imported = time.perf_counter()
reader = Reader.load(sys.argv[1], precision=sys.argv[2], engine="onnxruntime", device="cpu", threads=1)
loaded = time.perf_counter()
with open("/proc/self/statm") as file:
    resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
reader.ask(*sys.argv[3:])
print(json.dumps([imported - began, loaded - imported, time.perf_counter() - loaded, resident]))
"""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured.

    Attributes:
        words: of the texts, each length.
        calls: with one question, of each length and number of threads.
        starts: fresh processes.
        batches: calls with many questions, of each length.
        batch_words: of all texts of such a call.
    """

    words: Sequence[int]
    calls: int
    starts: int
    batches: int
    batch_words: int


class Texts:
    """Gives pairs of a question and a text, each text another piece of the project's own texts."""

    def __init__(self) -> None:
        golds = load_questions().golds
        self._words = [word for text in dict.fromkeys(gold.context for gold in golds) for word in text.split()]
        self._questions = [gold.question for gold in golds]
        self._draw = random.Random(0)

    def pairs(self, words: int, count: int) -> list[Pair]:
        """Return so many pairs, whose texts have so many words."""
        return [(self._draw.choice(self._questions), self._text(words)) for _ in range(count)]

    def _text(self, words: int) -> str:
        at = self._draw.randrange(len(self._words))
        return " ".join(self._words[(at + step) % len(self._words)] for step in range(words))


def measure(
    bundle: Bundle, contender: Contender, precision: str, extent: Extent, *, repeat: str = ""
) -> ServiceTimes:
    """Measure all; the two readers of the single calls alternate, and so do the lengths.

    Args:
        bundle: the bundle.
        contender: runs it.
        precision: of its graph.
        extent: how much is measured.
        repeat: command line that repeats it.
    """
    noise, texts = Noise(), Texts()
    threads = cpu.default_threads()
    start = measure_start(bundle, precision, extent.starts, texts)
    with ExitStack() as stack:
        processes = {
            count: stack.enter_context(
                ContenderProcess(f"{count} threads", contender.command(count), cpus=cpus_for(count))
            )
            for count in sorted({1, threads})
        }
        asked, milliseconds = single(processes, extent, texts)
        batch = [batched(processes[1], words, extent, texts) for words in extent.words]
        peak_mb = (processes[1].peak_bytes() or 0) / 1e6
        notes = noise.report([process.pid for process in processes.values()])
        backend = processes[1].facts["backend"]
    files = bundle.manifest.files()
    graph = bundle.graph(precision).size
    return ServiceTimes(
        command=repeat,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        machine=record(threads, cpus_for(threads)),
        noise=tuple(notes),
        bundle=bundle.manifest.source.name,
        precision=precision,
        backend=backend,
        size=Size(bundle=sum(file.size for file in files), graph=graph, packages=contender.install_bytes),
        start=Start(**start, peak_mb=round(peak_mb, 1)),
        single=tuple(singles(bundle, asked, milliseconds)),
        batch=tuple(batch),
    )


def singles(
    bundle: Bundle, asked: dict[int, list[Pair]], milliseconds: dict[tuple[int, int], list[float]]
) -> Iterator[Single]:
    """Yield the result of `single` by threads and words, with the sizes of the texts."""
    sizes = {words: size_of(bundle, pairs) for words, pairs in asked.items()}
    for (threads, words), times in milliseconds.items():
        median = round(statistics.median(times), 2)
        yield Single(threads=threads, words=words, **sizes[words], median_ms=median, milliseconds=tuple(times))


def measure_start(bundle: Bundle, precision: str, rounds: int, texts: Texts) -> dict[str, float]:
    """Start fresh processes; return the medians, after a first round that is not counted."""
    words = [str(bundle.path), precision, *texts.pairs(WORDS[0], 1)[0]]
    rows = []
    for _ in range(rounds + 1):
        done = subprocess.run([sys.executable, "-c", START, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"a process with one reader ended with exit code {done.returncode}:\n{done.stderr}")
        rows.append(json.loads(done.stdout))
    names = ("import_s", "load_s", "first_s", "loaded_mb")
    medians = (statistics.median(column) for column in zip(*rows[1:], strict=True))
    return {name: round(value, 4) for name, value in zip(names, medians, strict=True)}


def single(
    processes: dict[int, ContenderProcess], extent: Extent, texts: Texts
) -> tuple[dict[int, list[Pair]], dict[tuple[int, int], list[float]]]:
    """Ask one question after another.

    Returns:
        the pairs by words; the milliseconds of each, in that order, by threads and words.
    """
    asked = {words: texts.pairs(words, extent.calls) for words in extent.words}
    times: dict[tuple[int, int], list[float]] = {(n, words): [] for n in processes for words in extent.words}
    for words in extent.words:
        for process in processes.values():
            process.ask({"pairs": texts.pairs(words, 2), "alone": True})  # warm
    for begin in range(0, extent.calls, _TURN):
        for words in extent.words:
            order = list(processes.items())
            for threads, process in order if begin // _TURN % 2 else reversed(order):
                reply = process.ask({"pairs": asked[words][begin : begin + _TURN], "alone": True})
                times[threads, words] += [round(1000 * seconds, 2) for seconds in reply["seconds"]]
    return asked, times


def batched(process: ContenderProcess, words: int, extent: Extent, texts: Texts) -> Batch:
    """Ask many questions in a call, several times."""
    questions = max(_FEWEST, extent.batch_words // words)
    core_seconds, seconds = [], []
    for _ in range(extent.batches):
        pairs = texts.pairs(words, questions)
        before = cpu_seconds(process.pid)
        seconds.append(round(sum(process.ask({"pairs": pairs})["seconds"]), 4))
        core_seconds.append(round(cpu_seconds(process.pid) - before, 2))
    # The kernel counts ticks of 10 ms: a quick call may have had none.
    spent = statistics.median(core_seconds) or statistics.median(seconds)
    return Batch(
        words=words,
        questions=questions,
        core_seconds=tuple(core_seconds),
        seconds=tuple(seconds),
        per_core_second=round(questions / spent, 2),
    )


def size_of(bundle: Bundle, pairs: list[Pair]) -> dict[str, float]:
    """Return the means of characters, tokens and windows of the pairs."""
    windower = Windower(bundle.text(bundle.manifest.tokenizer), cls_id=bundle.manifest.cls_id)
    cut = windower.cut([Example(*pair) for pair in pairs], Options.for_windows_of(bundle.manifest.max_length))
    tokens = [sum(len(window.input_ids) for window in each.windows) for each in cut]
    return {
        "characters": round(statistics.fmean(sum(map(len, pair)) for pair in pairs), 1),
        "tokens": round(statistics.fmean(tokens), 1),
        "windows": round(statistics.fmean(len(each.windows) for each in cut), 2),
    }


def page_of(times: ServiceTimes) -> Page:
    """Return the medians as a page."""
    counts = sorted({one.threads for one in times.single})
    by_threads = [times.of(threads) for threads in counts]
    rows = []
    for batch in times.batch:
        one = by_threads[0][batch.words]
        cells = [f"{of[batch.words].median_ms:,.1f}" for of in by_threads]
        rows.append((f"{batch.words:,}", f"{one.tokens:,.0f}", *cells, f"{batch.per_core_second:,.1f}"))
    start = times.start
    return Page(
        title="Service times by the length of the text",
        head=("words", "tokens", *(f"ms, threads: {count}" for count in counts), "questions a core-second"),
        rows=tuple(rows),
        notes=(
            f"{times.bundle} {times.precision}, {times.backend}; ms: median of "
            f"{len(times.single[0].milliseconds)} questions one after another; core-second: many questions in a "
            "call, one thread",
            f"import {start.import_s:.2f} s, load {start.load_s:.2f} s, first answer {start.first_s:.2f} s; "
            f"resident {start.loaded_mb:,.0f} MB once loaded, {start.peak_mb:,.0f} MB at peak",
            *times.noise,
        ),
    )


def chosen_contender(options: Namespace) -> tuple[Bundle, Contender]:
    """Return the bundle, and what runs the precision in ONNX Runtime on the CPU."""
    bundle = Bundle.load(options.bundle)
    found = list_contenders(bundle, precisions=[options.precision], against=None, device="cpu")
    contender = next((one for one in found if one.name.endswith(", onnxruntime")), None)
    if contender is None or contender.why_not:
        reason = contender.why_not if contender else "it is not for that engine, or the engine is not installed"
        sys.exit(f"{options.precision} of {bundle.path} does not run in onnxruntime on this CPU: {reason}")
    return bundle, contender


def extent_of(options: Namespace) -> Extent:
    """Return the extent that the options ask for."""
    quick = options.quick
    return Extent(
        words=WORDS_QUICK if quick else WORDS,
        calls=(CALLS_QUICK if quick else CALLS) if options.calls is None else options.calls,
        starts=STARTS_QUICK if quick else STARTS,
        batches=BATCHES_QUICK if quick else BATCHES,
        batch_words=_BATCH_WORDS_QUICK if quick else _BATCH_WORDS,
    )


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--bundle", type=Path)
    cli.add_argument("--precision", default="int8")
    cli.add_argument("--calls", type=int, help=f"of each length  [default: {CALLS}, quick {CALLS_QUICK}]")
    cli.add_argument("--out", type=Path, metavar="FILE", help="[default: the stored measurement, quick none]")
    options = cli.parse_args()
    extent = extent_of(options)
    if extent.calls < 1:
        cli.error(f"--calls is {extent.calls}; it must be at least 1")
    repeat = command(without={"--out": options.out, "--json": options.json})
    try:
        bundle, contender = chosen_contender(options)
        times = measure(bundle, contender, options.precision, extent, repeat=repeat)
    except QaOnnxError as error:
        sys.exit(f"error: {error}")
    out = STORED if options.out is None and not options.quick else options.out
    if out is not None:
        write(out, to_json(times))
    finish(page_of(times), options.json)


if __name__ == "__main__":
    main()
