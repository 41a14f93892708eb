"""Compare span search alone with the n-best loops of others: microseconds for a window of 384 tokens.

    python benchmarks/span_search.py

Ours is checked against all spans before it is timed. The others are written here in NumPy, after what they do:

- outer sum: all starts x all ends, cut to a band, and the largest picked, as the pipeline of transformers 4 did;
- shortlist: the 20 best starts x the 20 best ends, as BERT's run_squad does. It can miss spans: see `found`.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pages import Page, finish, parser

from qa_onnx.spans import ContextLogits, best_spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Scores = NDArray[np.floating[Any]]
    Search = Callable[[Scores, Scores, int], Scores]

ROWS, LENGTH, QUESTION, WIDTH = 8, 384, 16, 30
REPEATS = 300
SHORTLIST = 20


def ours(start: Scores, end: Scores, n_best: int) -> Scores:
    """Search all rows at once."""
    inside = slice(QUESTION, LENGTH - 1)
    padded = np.pad(end[:, inside], ((0, 0), (0, WIDTH - 1)), constant_values=-np.inf)
    contexts = ContextLogits(np.full(len(start), QUESTION), start[:, inside], padded)
    return np.array([[span.score for span in spans] for spans in best_spans(contexts, n_best=n_best)])


def outer_sum(start: Scores, end: Scores, n_best: int) -> Scores:
    """Search row by row."""
    inside = slice(QUESTION, LENGTH - 1)
    scores = []
    for s, e in zip(start[:, inside], end[:, inside], strict=True):
        pairs = np.add.outer(s, e)
        band = np.tril(np.triu(np.ones(pairs.shape, dtype=bool)), WIDTH - 1)
        flat = np.where(band, pairs, -np.inf).ravel()
        best = np.argpartition(-flat, n_best)[:n_best]
        scores.append(np.sort(flat[best])[::-1])
    return np.array(scores)


def shortlist(start: Scores, end: Scores, n_best: int) -> Scores:
    """Search row by row; missed spans are -inf."""
    rows = []
    for s, e in zip(start, end, strict=True):
        starts = np.argsort(s)[::-1][:SHORTLIST].tolist()
        ends = np.argsort(e)[::-1][:SHORTLIST].tolist()
        scores = [
            s[i] + e[j]
            for i in starts
            for j in ends
            if QUESTION <= i <= j < min(i + WIDTH, LENGTH - 1)
        ]  # fmt: skip
        best = sorted(scores, reverse=True)[:n_best]
        rows.append(np.array([*best, *[-np.inf] * (n_best - len(best))], dtype=np.float32))
    return np.array(rows)


def exhaustive(start: Scores, end: Scores, n_best: int) -> Scores:
    """Return the scores of the best spans of a row by trying all of them."""
    inside = range(QUESTION, LENGTH - 1)
    scores = [float(start[i]) + float(end[j]) for i in inside for j in range(i, min(i + WIDTH, LENGTH - 1))]
    return np.array(sorted(scores, reverse=True)[:n_best])


def measure(*, quick: bool) -> Page:
    """Check, then time, the best span and the 20 best, all ways alternating."""
    random = np.random.default_rng(0)
    start, end = random.normal(size=(2, ROWS, LENGTH)).astype(np.float32)
    ways: dict[str, Search] = {"qa-onnx": ours, "outer sum": outer_sum, "shortlist": shortlist}
    rows = []
    for n_best in (1, 20):
        right = np.array([exhaustive(s, e, n_best) for s, e in zip(start, end, strict=True)])
        assert np.array_equal(ours(start, end, n_best), right)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(REPEATS // 10 if quick else REPEATS):
            for name, way in ways.items():
                started = time.perf_counter()
                way(start, end, n_best)
                times[name].append((time.perf_counter() - started) / ROWS)
        for name, way in ways.items():
            scores = np.isclose(way(start, end, n_best), right).mean()
            quarter, half, _ = (1e6 * value for value in statistics.quantiles(times[name], n=4))
            rows.append((f"{name}, {n_best} best", f"{half:,.1f}", f"{quarter:,.1f}", f"{scores:.0%}"))
    return Page(
        title=f"Span search, a window of {LENGTH} tokens",
        head=("way", "us, median", "us, quartile", "found"),
        rows=tuple(rows),
        notes=(
            f"{ROWS} windows of random logits, answers of at most {WIDTH} tokens, one thread",
            "found: share of the n best whose score is right. Random logits, many of them nearly the best, are "
            "hard for a shortlist",
        ),
    )


if __name__ == "__main__":
    chosen = parser(__doc__).parse_args()
    finish(measure(quick=chosen.quick), chosen.json)
