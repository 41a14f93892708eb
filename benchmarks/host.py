"""Measure the cost of everything but the model, on one core: tokenizing, windows, batches, span search, answers.

    python benchmarks/host.py

The session is replaced by one that returns logits made beforehand, so only the host's work is left. Processor time
is counted, not wall time, so other programs disturb little; medians over the repeats. Every figure is for a window
of 384 tokens.

Questions of qa-onnx are tokenized with everything forgotten before each call, as `qa-onnx bench` does, and as new
texts of words that are known.

The last rows are wall time, with a session that waits as long as a GPU might compute: one step after the other,
and with the host's work beside the runs.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if hasattr(os, "sched_setaffinity"):  # before anything starts threads
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np
from pages import Page, finish, parser

from qa_onnx import Bundle, Example, Options, Reader, Windower
from qa_onnx.bench.questions import load_questions
from qa_onnx.bench.runners import TURN
from qa_onnx.data import squad
from qa_onnx.session import RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

ARTICLE = Path(__file__).parents[1] / "examples" / "lighthouse.txt"
QUESTION = "Who designed the tower, and when was the lamp lit for the first time?"
REPEATS = 15
STAGES = ("tokenize and cut", "pack", "span search, the best", "merge, map")
WAITS = (100, 400)  # us a window: a small and a large model on a fast GPU, at a guess
OPTIONS = Options(n_best=1)


class PreparedLogits:
    """A session that only slices arrays: its logits exist already.

    Args:
        wait_s: seconds that it waits for each window, as for a device that does the work.
        leaves_cpu_idle: see `Session.leaves_cpu_idle`.
    """

    input_names = ("input_ids", "attention_mask", "token_type_ids")
    run_overhead = RUN_OVERHEAD["cpu"]

    def __init__(self, *, wait_s: float = 0.0, leaves_cpu_idle: bool = False) -> None:
        random = np.random.default_rng(0)
        self.start, self.end = random.normal(size=(2, 64, 512)).astype(np.float32)
        self.wait_s, self.leaves_cpu_idle = wait_s, leaves_cpu_idle

    def run(  # noqa: D102
        self, inputs: Mapping[str, NDArray[np.int64]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows, tokens = inputs["input_ids"].shape
        if self.wait_s:
            time.sleep(rows * self.wait_s)
        return self.start[:rows, :tokens], self.end[:rows, :tokens]


def measure(*, quick: bool) -> Page:
    """Return a row for each kind of work, and one for each stage."""
    bundle = Bundle.load()
    tokenizer, cls_id = bundle.text(bundle.manifest.tokenizer), bundle.manifest.cls_id
    paragraphs = [part for part in ARTICLE.read_text(encoding="utf-8").split("\n\n") if len(part) > 200]
    # Texts that just fill one window, each another; and one document of very many.
    singles = [f"{number}. {' '.join(paragraphs[number % 3 :] + paragraphs)}"[:1450] for number in range(64)]
    document = "\n\n".join(f"{number}. {paragraph}" for number in range(60) for paragraph in paragraphs)

    def fresh(**waits: Any) -> Reader:
        session = PreparedLogits(**waits)
        return Reader(session=session, windower=Windower(tokenizer, cls_id=cls_id), max_positions=512)

    kinds = {
        "64 texts of one window": [Example(QUESTION, text) for text in singles],
        "a long document": [Example(QUESTION, document)],
        "8 questions on it": [Example(f"{QUESTION} {number}", document) for number in range(8)],
    }
    repeats = 3 if quick else REPEATS
    rows = []
    for name, examples in kinds.items():
        windows = sum(len(cut.windows) for cut in fresh().steps.cut(examples, OPTIONS))
        seconds = per_window(answering(examples), fresh, windows, repeats)
        rows.append((name, f"{windows:,}", f"{1e6 * seconds:,.1f}"))
    first, examples = next(iter(kinds.items()))
    split = stages(examples, fresh, repeats)  # one window each
    rows += [(f"of {first}: {name}", f"{len(examples):,}", f"{1e6 * value:,.1f}") for name, value in split.items()]
    rows += [
        (name, f"{windows:,}", f"{1e6 * value:,.1f}") for name, windows, value in tokenizing(fresh(), repeats)
    ]
    many = [Example(QUESTION, f"{round_} {text}") for round_ in range(15) for text in singles]
    for micros in WAITS:
        for name, seconds in beside_device(many, partial(fresh, wait_s=micros / 1e6), min(repeats, 5)).items():
            row = f"beside a device that takes {micros} us: {name}", f"{len(many):,}", f"{1e6 * seconds:,.1f}"
            rows.append(row)
    return Page(
        title="Host overhead: everything but the model",
        head=("work", "windows", "us a window"),
        rows=tuple(rows),
        notes=(
            f"processor time on one core, medians of {repeats} repeats; windows of 384 tokens",
            "beside a device: wall time of all, batches of 16,384 tokens",
        ),
    )


def stages(examples: list[Example], fresh: Callable[[], Reader], repeats: int) -> dict[str, float]:
    """Return the seconds of the parts of a call for each example: medians over the same calls."""
    calls = [laps(examples, fresh()) for _ in range(repeats)]
    return {name: statistics.median(call[name] for call in calls) / len(examples) for name in calls[0]}


def laps(examples: list[Example], reader: Reader) -> dict[str, float]:
    """Return the seconds of the parts of one call. Its objects are freed before the next call."""
    clock = [time.process_time()]
    steps = reader.steps
    cut = steps.cut(examples, OPTIONS)
    clock.append(time.process_time())
    windows = [window for example in cut for window in example.windows]
    batches = list(steps.run(windows, batch_tokens=OPTIONS.batch_tokens))
    clock.append(time.process_time())
    rows = [row for _, batch_rows in batches for row in batch_rows]
    parts = list(steps.search(rows, OPTIONS))
    clock.append(time.process_time())
    for part in parts:
        steps.merge(cut[part.window.example], [part], OPTIONS)
    clock.append(time.process_time())
    return dict(zip(STAGES, (after - before for before, after in pairwise(clock)), strict=True))


def tokenizing(reader: Reader, repeats: int) -> list[tuple[str, int, float]]:
    """Measure tokenizing and cutting of qa-onnx's questions: name, windows, median CPU seconds a window."""
    golds = squad.sample(load_questions(most_words=400).golds, 64, seed=0)
    rows = []
    for size, forgets in ((TURN, True), (TURN, False), (1, True), (1, False)):
        seconds, windows = [], 0
        for number in range(repeats + 1):
            examples = [Example(gold.question, f"{number} {gold.context}") for gold in golds]
            spent, windows = 0.0, 0
            for at in range(0, len(examples), size):
                if forgets:
                    reader.steps.windower.forget()
                started = time.process_time()
                cut = reader.steps.cut(examples[at : at + size], OPTIONS)
                spent += time.process_time() - started
                windows += sum(len(one.windows) for one in cut)
            if number:  # the first makes words known
                seconds.append(spent / windows)
        cache = "all forgotten" if forgets else "words known"
        name = f"{len(golds)} questions of qa-onnx, {size} a call: tokenize and cut, {cache}"
        rows.append((name, windows, statistics.median(seconds)))
    return rows


def beside_device(examples: list[Example], fresh: Callable[..., Reader], repeats: int) -> dict[str, float]:
    """Return the median wall seconds of an example with a device at work, both ways alternating."""
    times: dict[str, list[float]] = {"in turns": [], "overlapped": []}
    for _ in range(repeats):
        for name, seconds in times.items():
            reader = fresh(leaves_cpu_idle=name == "overlapped")
            started = time.perf_counter()
            reader.predict(examples, options=replace(OPTIONS, batch_tokens=16_384))
            seconds.append((time.perf_counter() - started) / len(examples))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def answering(examples: list[Example]) -> Callable[[Reader], object]:
    """Answer the examples."""
    return lambda reader: reader.predict(examples, options=OPTIONS)


def per_window(work: Callable[[Reader], object], fresh: Callable[[], Reader], windows: int, repeats: int) -> float:
    """Return the median CPU seconds of a window; each repeat has a new reader with empty caches."""
    seconds = []
    for _ in range(repeats):
        reader = fresh()
        started = time.process_time()
        work(reader)
        seconds.append((time.process_time() - started) / windows)
    return statistics.median(seconds)


if __name__ == "__main__":
    chosen = parser(__doc__).parse_args()
    finish(measure(quick=chosen.quick), chosen.json)
