"""Predictions and logits -> the JSON objects of schemas.py."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx import __version__
from qa_onnx.errors import EngineError
from qa_onnx.serve.offsets import OffsetUnit, convert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx import Answer, Example, Prediction
    from qa_onnx.serve.settings import Model
    from qa_onnx.spans import WindowLogits


def result(
    example: Example, prediction: Prediction, answer: Answer, unit: OffsetUnit, milliseconds: float
) -> dict[str, Any]:
    """One prediction, with the answer that was chosen of it."""
    ends = [position for item in prediction.answers for position in (item.start, item.end)]
    units = convert(example.context, ends, unit)
    answers = [
        {
            "text": item.text,
            "start": units[item.start],
            "end": units[item.end],
            "score": item.score,
            "probability": item.probability,
        }
        for item in prediction.answers
    ]
    return {
        "question": example.question,
        "answer": answers[0] if answer else None,
        "answers": answers,
        "null_score": prediction.null_score,
        "null_probability": prediction.null_probability,
        "warnings": list(prediction.warnings),
        "milliseconds": round(milliseconds, 3),
        "offset_unit": unit,
    }


def scores(rows: Sequence[WindowLogits], unit: OffsetUnit) -> dict[str, Any]:
    """The logits of a context's tokens.

    A token that several windows show has those of the window where it has the most context: the one in which the
    smaller of what is to its left and to its right is largest, plus 1 % of the window's length, as
    `_check_is_max_context` in BERT's run_squad.py has it.

    Args:
        rows: the windows of one example, each with start_logits and end_logits, float32 (T,).
        unit: of the tokens' positions.

    Raises:
        EngineError: a logit is not a number.
    """
    context = rows[0].window.context
    count = len(context.ids)
    most = np.full(count, -1.0)
    logits = np.zeros((2, count))
    for window, start, end in rows:
        length = window.last + 1 - window.first
        shown = slice(window.token_offset, window.token_offset + length)
        position = np.arange(length)
        around = np.minimum(position, position[::-1]) + 0.01 * length
        better = around > most[shown]
        most[shown][better] = around[better]
        part = np.stack((start, end))[:, window.first : window.last + 1]
        logits[:, shown][:, better] = part[:, better]
    if not np.isfinite(logits).all():
        raise EngineError("the graph returned logits that are infinite or not a number: use another precision")
    spans = [context.characters(token, token) for token in range(count)]
    units = convert(context.text, [position for span in spans for position in span], unit)
    rounded = logits.round(4).tolist()
    tokens = [
        {"start": units[start], "end": units[end], "start_logit": start_logit, "end_logit": end_logit}
        for (start, end), start_logit, end_logit in zip(spans, *rounded, strict=True)
    ]
    return {"tokens": tokens, "windows": len(rows)}


def bundle(model: Model) -> dict[str, Any]:
    """What is served, and what was measured of it."""
    manifest = model.bundle.manifest
    graph = model.bundle.graph(model.precision)
    files = (graph.file, manifest.tokenizer, graph.golden)
    return {
        "name": manifest.source.name,
        "precision": model.precision,
        "engine": model.backend.engine,
        "device": model.backend.device,
        "threads": model.threads,
        "max_length": model.max_length,
        "null_threshold": manifest.null_threshold,
        "temperature": manifest.temperature,
        "source": dataclasses.asdict(manifest.source),
        "architecture": manifest.architecture,
        "hashes": {entry.name: entry.sha256 for entry in files},
        "receipt": None if graph.receipt is None else dataclasses.asdict(graph.receipt),
        "version": __version__,
    }


def encode(content: Any) -> bytes:
    """A JSON text."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
