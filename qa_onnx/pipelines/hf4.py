"""Logits -> results as the pipeline of transformers 4.57.6 gave them, faults included.

What it does, window by window, and what `Reader.predict` does not:

1. Starts and ends become probabilities by two softmaxes over the window's context and its [CLS]. A window that
   does not hold the answer has nothing better to do with its share, so scores of windows cannot be compared.
2. The score of a span is their product. The best 2 top_k + 10 of a window are kept, top_k without alignment.
3. Each is aligned to words, as far as this window shows them.
4. Spans that read the same but for upper and lower case, anywhere in the context, become one: scores are added,
   and may pass 1; the position is that of the first.
5. "No answer" has the least product at [CLS] of all windows.

Windows are those of the old pipeline: the question is never cut, whatever `max_question_len` says. Left out: text
that spells a special token, such as "[SEP]", is text here and was that token there.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from qa_onnx.options import Options
from qa_onnx.spans import ContextLogits, best_spans, require_finite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qa_onnx.pipelines.inputs import Arguments
    from qa_onnx.reader import Reader
    from qa_onnx.spans import Logits, WindowLogits
    from qa_onnx.windows import Example, Window

Probabilities: TypeAlias = NDArray[np.float32]
Span: TypeAlias = tuple[float, int, int]  # score, position of the first token in the window, of the last

_MAX_LENGTH = 384


class PipelineResult(TypedDict):
    """An answer as the old pipeline returned it: `context[start:end] == answer`."""

    score: float
    start: int
    end: int
    answer: str


def hf4_results(
    reader: Reader, examples: Iterable[Example], arguments: Arguments
) -> Iterator[list[PipelineResult]]:
    """Answer as transformers 4.57.6 did.

    Yields:
        For each example at most `top_k` results, best first.

    Raises:
        InputError: a question leaves its context no room, or an argument does not fit the model.
        EngineError: see `Reader.ask`.
    """
    rows = reader.logits(examples, options=_options(reader, arguments))
    for _, windows in groupby(rows, key=lambda row: row.window.example):
        yield _merge(windows, arguments)


def _options(reader: Reader, arguments: Arguments) -> Options:
    wanted = arguments.max_seq_len
    max_seq_len = min(reader.max_positions, _MAX_LENGTH) if wanted is None else wanted
    stride = arguments.doc_stride
    max_length = min(max_seq_len, reader.max_positions)
    budget = reader.options.batch_tokens
    return Options(
        max_length=max_length,
        doc_stride=min(max_seq_len // 2, 128) if stride is None else stride,
        max_question_length=None,
        batch_tokens=budget if arguments.batch_size is None else arguments.batch_size * max_length,
    )


def _merge(windows: Iterable[WindowLogits], arguments: Arguments) -> list[PipelineResult]:
    count = 2 * arguments.top_k + 10 if arguments.align_to_words else arguments.top_k
    results: dict[str, PipelineResult] = {}
    null_score = 1e6
    for row in windows:
        window = row[0]
        require_finite(*row[1:])
        start, end = (_softmax(window, logits) for logits in row[1:])
        null_score = min(null_score, float(start[window.cls] * end[window.cls]))
        start[window.cls] = end[window.cls] = 0.0
        text = window.context.text
        for score, first, last in _spans(row, start, end, count, arguments.max_answer_len):
            begin, stop = _characters(window, first, last, align_to_words=arguments.align_to_words)
            answer = text[begin:stop]
            if known := results.get(answer.lower()):
                known["score"] += score
            else:
                results[answer.lower()] = PipelineResult(score=score, start=begin, end=stop, answer=answer)
    found = list(results.values())
    if arguments.handle_impossible_answer:
        found.append(PipelineResult(score=null_score, start=0, end=0, answer=""))
    return sorted(found, key=lambda result: -result["score"])[: arguments.top_k]


def _softmax(window: Window, logits: Logits) -> Probabilities:
    """Probabilities over [CLS] and the context, 0 elsewhere: float32 (T,)."""
    out = np.zeros(len(logits), np.float32)
    part = slice(window.first, window.last + 1)
    highest = max(logits[window.cls], logits[part].max(initial=-np.inf))
    out[part] = np.exp(logits[part] - highest)
    out[window.cls] = np.exp(logits[window.cls] - highest)
    return np.asarray(out / out.sum())


def _spans(
    row: WindowLogits, start: Probabilities, end: Probabilities, count: int, max_answer_len: int
) -> Iterable[Span]:
    """The `count` spans with the highest products, best first."""
    window, start_logits, end_logits = row
    first = window.first
    if window.last >= first:
        context = ContextLogits.of(
            [start_logits],
            [end_logits],
            np.array([first]),
            np.array([window.last]),
            max_answer_length=max_answer_len,
        )
        # in the order of the products, since these are the logits' sums but for a factor
        spans = [(float(start[i] * end[j]), i, j) for _, i, j in best_spans(context, n_best=count).rows()[0]]
        if len(spans) == count and spans[-1][0] > 0:
            return spans
    return _all_spans(window, start, end, count, max_answer_len)


def _all_spans(
    window: Window, start: Probabilities, end: Probabilities, count: int, max_answer_len: int
) -> Iterator[Span]:
    """The same where fewer than `count` products are above 0, which short contexts have.

    The old pipeline then went on with products of 0: of [CLS], of spans that end before they start. Which ones is
    up to the order in which NumPy leaves equal values in its T x T matrix, so that is what is made here.
    """
    products = np.tril(np.triu(np.multiply.outer(start, end)), max_answer_len - 1)
    flat = -products.ravel()
    if count == 1:
        chosen = np.array([flat.argmin()])
    elif len(flat) <= count:
        chosen = np.argsort(flat)
    else:
        chosen = np.argpartition(flat, count)[:count]
        chosen = chosen[np.argsort(flat[chosen])]
    for first, last in zip(*np.divmod(chosen, len(start)), strict=True):
        if all(at == window.cls or window.first <= at <= window.last for at in (first, last)):
            yield float(products[first, last]), int(first), int(last)


def _characters(window: Window, first: int, last: int, *, align_to_words: bool) -> tuple[int, int]:
    """Characters of a span that may touch [CLS], which has none."""
    if window.cls in (first, last):
        return (
            0 if first == window.cls else _token(window, first)[0],
            0 if last == window.cls else _token(window, last)[1],
        )
    begin, stop = (window.token_offset + at - window.first for at in (first, last))
    if align_to_words:
        shown = (window.token_offset, window.token_offset + window.last - window.first)
        wide = window.context.words(begin, stop)
        begin, stop = max(wide[0], shown[0]), min(wide[1], shown[1])
    return window.context.characters(begin, stop)


def _token(window: Window, at: int) -> tuple[int, int]:
    token = window.token_offset + at - window.first
    return window.context.characters(token, token)
