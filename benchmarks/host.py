"""What everything but the model costs: tokenizing, windows, batches, span search, answers. On one core.

    python benchmarks/host.py

The session is replaced by one that returns logits made beforehand, so only the host's work is left. Processor time
is counted, not wall time, so other programs disturb little; medians over the repeats. Every figure is for a window
of 384 tokens.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

if hasattr(os, "sched_setaffinity"):  # before anything starts threads
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np
from pages import Page, finish, parser

from qa_onnx import Bundle, Example, Options, Reader, Windower
from qa_onnx.session import RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

ARTICLE = Path(__file__).parents[1] / "examples" / "lighthouse.txt"
QUESTION = "Who designed the tower, and when was the lamp lit for the first time?"
REPEATS = 15
OPTIONS = Options(n_best=1)


class PreparedLogits:
    """A session that costs a slice: its logits exist already."""

    input_names = ("input_ids", "attention_mask", "token_type_ids")
    run_overhead = RUN_OVERHEAD["cpu"]

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.start, self.end = random.normal(size=(2, 16, 512)).astype(np.float32)

    def run(  # noqa: D102
        self, inputs: Mapping[str, NDArray[np.int64]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows, tokens = inputs["input_ids"].shape
        return self.start[:rows, :tokens], self.end[:rows, :tokens]


def measure(*, quick: bool) -> Page:
    """A row for each kind of work, and one for each stage."""
    bundle = Bundle.load()
    tokenizer, cls_id = bundle.text(bundle.manifest.tokenizer), bundle.manifest.cls_id
    paragraphs = [part for part in ARTICLE.read_text(encoding="utf-8").split("\n\n") if len(part) > 200]
    # Texts that just fill one window, each another; and one document of very many.
    singles = [f"{number}. {' '.join(paragraphs[number % 3 :] + paragraphs)}"[:1450] for number in range(64)]
    document = "\n\n".join(f"{number}. {paragraph}" for number in range(60) for paragraph in paragraphs)

    def fresh() -> Reader:
        return Reader(session=PreparedLogits(), windower=Windower(tokenizer, cls_id=cls_id), max_positions=512)

    kinds = {
        "64 texts of one window": [Example(QUESTION, text) for text in singles],
        "a long document": [Example(QUESTION, document)],
        "8 questions on it": [Example(f"{QUESTION} {number}", document) for number in range(8)],
    }
    repeats = 3 if quick else REPEATS
    rows = []
    for name, examples in kinds.items():
        windows = sum(len(cut.windows) for cut in fresh()._windower.cut(examples, OPTIONS))
        seconds = per_window(answering(examples), fresh, windows, repeats)
        rows.append((name, f"{windows:,}", f"{1e6 * seconds:,.1f}"))
    first, examples = next(iter(kinds.items()))
    split = stages(examples, fresh, repeats)  # one window each
    rows += [(f"of {first}: {name}", f"{len(examples):,}", f"{1e6 * value:,.1f}") for name, value in split.items()]
    return Page(
        title="Host overhead: everything but the model",
        head=("work", "windows", "us a window"),
        rows=tuple(rows),
        notes=(f"processor time on one core, medians of {repeats} repeats; windows of 384 tokens",),
    )


def stages(examples: list[Example], fresh: Callable[[], Reader], repeats: int) -> dict[str, float]:
    """Seconds of the parts of a call, by example: medians of what each took in the same calls."""
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        reader = fresh()
        last = time.process_time()

        def lap(name: str) -> None:
            nonlocal last
            now = time.process_time()
            times.setdefault(name, []).append((now - last) / len(examples))
            last = now

        cut = reader.cut(examples, OPTIONS)
        lap("tokenize and cut")
        windows = [window for example in cut for window in example.windows]
        batches = list(reader.run(windows, batch_tokens=OPTIONS.batch_tokens))
        lap("pack")
        rows = [row for batch, start, end in batches for row in zip(batch.windows, start, end, strict=True)]
        parts = list(reader.search(rows, OPTIONS))
        lap("span search, the best")
        for part in parts:
            reader.merge(cut[part.window.example], [part], OPTIONS)
        lap("merge, map")
    return {name: statistics.median(values) for name, values in times.items()}


def answering(examples: list[Example]) -> Callable[[Reader], object]:
    """Answer these."""
    return lambda reader: reader.predict(examples, options=OPTIONS)


def per_window(work: Callable[[Reader], object], fresh: Callable[[], Reader], windows: int, repeats: int) -> float:
    """Median processor seconds for a window; each repeat has a reader that has seen no text yet."""
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
