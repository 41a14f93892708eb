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


def main() -> None:
    """Print a line for each kind of work, and one for each stage."""
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
    for name, examples in kinds.items():
        windows = sum(len(cut.windows) for cut in fresh()._windower.cut(examples, OPTIONS))
        seconds = per_window(answering(examples), fresh, windows)
        print(f"{name:24} {windows:5} windows  {1000 * seconds:6.3f} ms a window")
    stages(fresh(), kinds["64 texts of one window"], fresh)


def stages(reader: Reader, examples: list[Example], fresh: Callable[[], Reader]) -> None:
    """Print the parts of it."""
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

    whole = per_window(answering(examples), fresh, len(windows))
    parts = {
        "tokenize and cut": per_window(lambda made: made._windower.cut(examples, OPTIONS), fresh, len(windows)),
        "pack": per_window(lambda _: packed(), fresh, len(windows)),
        "span search, the best": per_window(search, fresh, len(windows)),
    }
    parts["check, merge, map"] = whole - sum(parts.values())
    for name, seconds in parts.items():
        print(f"  {name:36} {1e6 * seconds:8.1f} us")


def answering(examples: list[Example]) -> Callable[[Reader], object]:
    """Answer these."""
    return lambda reader: reader.predict(examples, options=OPTIONS)


def per_window(work: Callable[[Reader], object], fresh: Callable[[], Reader], windows: int) -> float:
    """Median processor seconds for a window; each repeat has a reader that has seen no text yet."""
    seconds = []
    for _ in range(REPEATS):
        reader = fresh()
        started = time.process_time()
        work(reader)
        seconds.append((time.process_time() - started) / windows)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
