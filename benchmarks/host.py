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
from qa_onnx.batches import pack
from qa_onnx.spans import best_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from qa_onnx.batches import Batch

ARTICLE = Path(__file__).parents[1] / "examples" / "lighthouse.txt"
QUESTION = "Who designed the tower, and when was the lamp lit for the first time?"
REPEATS = 15
OPTIONS = Options(n_best=1)


class PreparedLogits:
    """A session that costs a slice: its logits exist already."""

    input_names = ("input_ids", "attention_mask", "token_type_ids")

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
    split = stages(fresh(), examples, fresh, repeats)
    rows += [(f"of {first}: {name}", f"{len(examples):,}", f"{1e6 * value:,.1f}") for name, value in split.items()]
    return Page(
        title="Host overhead: everything but the model",
        head=("work", "windows", "us a window"),
        rows=tuple(rows),
        notes=(f"processor time on one core, medians of {repeats} repeats; windows of 384 tokens",),
    )


def stages(reader: Reader, examples: list[Example], fresh: Callable[[], Reader], repeats: int) -> dict[str, float]:
    """Seconds a window of the parts."""
    cut = reader._windower.cut(examples, OPTIONS)
    windows = [window for example in cut for window in example.windows]
    session = PreparedLogits()

    def packed() -> list[Batch]:
        return list(pack(windows, batch_tokens=OPTIONS.batch_tokens, input_names=session.input_names, pad_id=0))

    batches = packed()

    def search(_: object) -> None:
        for batch in batches:
            start, end = session.run(batch.inputs)
            first = np.array([window.first for window in batch.windows])
            last = np.array([window.last for window in batch.windows])
            best_spans(start, end, first, last, max_answer_length=30, n_best=1)

    def cost(work: Callable[[Reader], object]) -> float:
        return per_window(work, fresh, len(windows), repeats)

    parts = {
        "tokenize and cut": cost(lambda made: made._windower.cut(examples, OPTIONS)),
        "pack": cost(lambda _: packed()),
        "span search, the best": cost(search),
    }
    parts["check, merge, map"] = cost(answering(examples)) - sum(parts.values())
    return parts


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
