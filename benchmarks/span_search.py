"""Span search alone: microseconds for a window of 384 tokens, checked against all spans before it is timed.

python benchmarks/span_search.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from qa_onnx.spans import best_spans

ROWS, LENGTH, QUESTION, WIDTH = 8, 384, 16, 30
REPEATS = 300


def main() -> None:
    """Check, then time, the best span and the 20 best."""
    random = np.random.default_rng(0)
    start = random.normal(size=(ROWS, LENGTH)).astype(np.float32)
    end = random.normal(size=(ROWS, LENGTH)).astype(np.float32)
    first, last = np.full(ROWS, QUESTION), np.full(ROWS, LENGTH - 2)
    for n_best in (1, 20):
        table = best_spans(start, end, first, last, max_answer_length=WIDTH, n_best=n_best)
        for row in range(ROWS):
            assert np.array_equal(table.scores[row], exhaustive(start[row], end[row], n_best))
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            best_spans(start, end, first, last, max_answer_length=WIDTH, n_best=n_best)
            times.append((time.perf_counter() - started) / ROWS)
        quarter, half, _ = (1e6 * value for value in statistics.quantiles(times, n=4))
        print(
            f"{n_best:3} best of {LENGTH} tokens: {half:6.1f} us a window (quartile {quarter:.1f}), {ROWS} at once"
        )


def exhaustive(start: np.ndarray, end: np.ndarray, n_best: int) -> np.ndarray:
    """Scores of the best spans by trying all of them."""
    inside = range(QUESTION, LENGTH - 1)
    scores = [float(start[i]) + float(end[j]) for i in inside for j in range(i, min(i + WIDTH, LENGTH - 1))]
    return np.array(sorted(scores, reverse=True)[:n_best])


if __name__ == "__main__":
    main()
