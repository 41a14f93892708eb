"""Logits -> the results of the question-answering pipeline of transformers 4.57.6, including its faults.

Differences from `Reader.predict`, for each window:

1. Two softmaxes over the window's context and its [CLS] give the probabilities of starts and ends. They sum to 1
   even in a window without the answer, so scores of different windows cannot be compared.
2. The score of a span is the product of the two. The best 2 top_k + 10 spans are kept, or top_k without alignment.
3. Each span is aligned to words, as far as this window shows them.
4. Spans with the same text, ignoring case, become one, wherever they are in the context: scores are added, and may
   exceed 1; the position is that of the first.
5. "No answer" has the lowest product at [CLS] of all windows.

The question is never truncated, whatever `max_question_len` says. Left out: text that spells a special token, such
as "[SEP]", is text here and was that token there; and the order in which NumPy leaves spans of score 0.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from qa_onnx.options import Options
from qa_onnx.spans import ContextLogits, best_spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from qa_onnx.pipelines.inputs import Arguments
    from qa_onnx.reader import Reader
    from qa_onnx.spans import Logits, WindowLogits
    from qa_onnx.windows import Example, Window

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
    """Yield for each example at most `top_k` results, best first, as transformers 4.57.6 gave them.

    Raises:
        InputError: a question leaves no room for its context, or an argument does not fit the model.
        EngineError: see `Reader.ask`.
    """
    rows = reader.logits(examples, options=_options(reader, arguments))
    for _, windows in groupby(rows, key=lambda row: row.window.example):
        yield _merge(windows, arguments)


def _options(reader: Reader, arguments: Arguments) -> Options:
    length, stride, batch = arguments.max_seq_len, arguments.doc_stride, arguments.batch_size
    max_seq_len = min(reader.max_positions, _MAX_LENGTH) if length is None else length
    max_length = min(max_seq_len, reader.max_positions)
    return Options(
        max_length=max_length,
        doc_stride=min(max_seq_len // 2, 128) if stride is None else stride,
        max_question_length=None,
        batch_tokens=reader.options.batch_tokens if batch is None else batch * max_length,
    )


def _merge(windows: Iterable[WindowLogits], arguments: Arguments) -> list[PipelineResult]:
    """Return the results of one example from the logits of its windows."""
    count = 2 * arguments.top_k + 10 if arguments.align_to_words else arguments.top_k
    results: dict[str, PipelineResult] = {}
    null_score = 1e6
    for row in windows:
        spans = _spans(row, count, arguments.max_answer_len)
        window, start, end = row.window, _softmax(row.window, row.start), _softmax(row.window, row.end)
        null_score = min(null_score, float(start[window.cls] * end[window.cls]))
        for first, last in spans:
            begin, stop = _characters(window, first, last, align_to_words=arguments.align_to_words)
            answer = window.context.text[begin:stop]
            result = PipelineResult(score=0.0, start=begin, end=stop, answer=answer)
            results.setdefault(answer.lower(), result)["score"] += float(start[first] * end[last])
        if len(spans) < count:  # the old pipeline goes on with spans of score 0
            results.setdefault("", PipelineResult(score=0.0, start=0, end=0, answer=""))
    merged = list(results.values())
    if arguments.handle_impossible_answer:
        merged.append(PipelineResult(score=null_score, start=0, end=0, answer=""))
    return sorted(merged, key=lambda result: -result["score"])[: arguments.top_k]


def _softmax(window: Window, logits: Logits) -> NDArray[np.float32]:
    """Return probabilities over [CLS] and the context, 0 elsewhere: float32 (T,)."""
    out = np.zeros(len(logits), np.float32)
    part = slice(window.first, window.last + 1)
    highest = max(logits[window.cls], logits[part].max(initial=-np.inf))
    out[part] = np.exp(logits[part] - highest)
    out[window.cls] = np.exp(logits[window.cls] - highest)
    return np.asarray(out / out.sum())


def _spans(row: WindowLogits, count: int, max_answer_len: int) -> list[tuple[int, int]]:
    """Return the first and last token of the `count` best spans of a window, best first."""
    contexts = ContextLogits.of([row], max_answer_length=max_answer_len)
    [spans] = best_spans(contexts, n_best=count)
    # In the order of the products of probabilities, which are exp(sum of logits) times a constant.
    return [(span.first, span.last) for span in spans]


def _characters(window: Window, first: int, last: int, *, align_to_words: bool) -> tuple[int, int]:
    """Return the characters of a span, aligned to words as far as the window shows them."""
    offset = window.token_offset - window.first
    begin, stop = first + offset, last + offset
    if align_to_words:
        wide = window.context.words(begin, stop)
        begin, stop = max(wide[0], window.first + offset), min(wide[1], window.last + offset)
    return window.context.characters(begin, stop)
