"""Predictions, logits and a model -> the JSON objects of schemas.py."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np
from fastapi import Response
from pydantic_core import to_json

from qa_onnx import __version__
from qa_onnx.documents.evidence import evidence
from qa_onnx.serve.bodies import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qa_onnx import Prediction
    from qa_onnx.answers import State
    from qa_onnx.serve.settings import Model
    from qa_onnx.spans import WindowLogits

OffsetUnit: TypeAlias = Literal["character", "utf8", "utf16"]

_CODECS = {"utf8": ("utf-8", 1), "utf16": ("utf-16-le", 2)}

# By the hash of the checkpoint: a manifest names no licence, and only that of the default bundle is known here.
LICENCES = {
    "980e47b69b4bd5a3798b6338976d813eff48963e7e00539303f75f363379380b": {
        "name": "CC BY-SA 4.0",
        "url": "https://creativecommons.org/licenses/by-sa/4.0/",
        "attribution": "Trained on SQuAD (Rajpurkar et al. 2016), whose text comes from Wikipedia; its encoder is "
        "all-MiniLM-L6-v2 (Apache-2.0).",
    }
}

encode = partial(to_json, inf_nan_mode="null")  # content -> JSON text in UTF-8


def respond(content: Any) -> Response:
    """Return content as a response in JSON."""
    return Response(encode(content), media_type=JSON)


def result(
    sources: Sequence[tuple[str | None, str]],
    prediction: Prediction,
    unit: OffsetUnit,
    state: State,
    *,
    with_evidence: bool,
) -> dict[str, Any]:
    """Return most of an `AnswerResult` or a `DocumentsResult`; with evidence it takes long.

    Args:
        sources: name and text of the document of each answer; the name of None: the one context, which has none.
        prediction: the answers.
        unit: of all starts and ends.
        state: of the chosen answer.
        with_evidence: whether each answer says where it stands.
    """
    answers = [answer.to_dict() for answer in prediction.answers]
    of_source: dict[str | None, tuple[str, list[dict[str, Any]]]] = {}
    for (name, text), answer in zip(sources, answers, strict=True):
        if name is not None:
            answer["document"] = name
        of_source.setdefault(name, (text, []))[1].append(answer)
    if with_evidence or unit != "character":
        for text, found in of_source.values():
            _place(text, found, unit, with_evidence=with_evidence)
    return {
        "state": state,
        "answer": answers[0] if state == "answer" else None,
        "answers": answers,
        "null_score": prediction.null_score,
        "null_probability": prediction.null_probability,
        "warnings": list(prediction.warnings),
    }


def _place(context: str, answers: Sequence[dict[str, Any]], unit: OffsetUnit, *, with_evidence: bool) -> None:
    """Add to answers of a context where they stand, and convert all of their positions to a unit."""
    if with_evidence:
        for answer in answers:
            answer["evidence"] = evidence(context, answer["start"], answer["end"]).to_dict()
    ranges = [*answers] + [
        answer["evidence"][part] for answer in answers if with_evidence for part in ("sentence", "paragraph")
    ]
    units = convert(context, [found[side] for found in ranges for side in ("start", "end")], unit)
    for found in ranges:
        found |= {"start": units[found["start"]], "end": units[found["end"]]}


def scores(rows: Sequence[WindowLogits], unit: OffsetUnit) -> dict[str, Any]:
    """Return the `Scores` of a context: the two logits of each token.

    A token in several windows gets the logits of the window that gives it most context: that with the largest
    min(tokens to its left, tokens to its right) + 0.01 * length (`_check_is_max_context` in BERT's run_squad.py).

    Args:
        rows: the windows of one example, each with start_logits and end_logits, float32 (T,).
        unit: of the tokens' positions.
    """
    context = rows[0].window.context
    count = len(context.ids)
    best = np.full(count, -1.0)
    logits = np.zeros((2, count))
    for window, start, end in rows:
        length = window.last + 1 - window.first
        part = slice(window.token_offset, window.token_offset + length)
        position = np.arange(length)
        around = np.minimum(position, position[::-1]) + 0.01 * length
        better = around > best[part]
        best[part][better] = around[better]
        of_window = np.stack((start, end))[:, window.first : window.last + 1]
        logits[:, part][:, better] = of_window[:, better]
    spans = [context.characters(token, token) for token in range(count)]
    units = convert(context.text, [position for span in spans for position in span], unit)
    rounded = logits.round(4).tolist()
    tokens = [
        {"start": units[start], "end": units[end], "start_logit": start_logit, "end_logit": end_logit}
        for (start, end), start_logit, end_logit in zip(spans, *rounded, strict=True)
    ]
    return {"tokens": tokens, "windows": len(rows)}


def bundle(model: Model) -> dict[str, Any]:
    """Return the `BundleInfo` of a model."""
    manifest, runtime = model.bundle.manifest, model.runtime
    graph = runtime.graph
    receipt = model.bundle.receipt(runtime.precision)
    files = filter(None, (graph.file, graph.data, manifest.tokenizer, graph.golden))
    return {
        "name": manifest.source.name,
        "precision": runtime.precision,
        "engine": runtime.backend.engine,
        "device": runtime.backend.device,
        "threads": runtime.threads,
        "max_length": model.options.max_length,
        "null_threshold": manifest.null_threshold,
        "temperature": manifest.temperature,
        "source": dataclasses.asdict(manifest.source),
        "licence": LICENCES.get(manifest.source.sha256 or ""),
        "architecture": manifest.architecture,
        "hashes": {entry.name: entry.sha256 for entry in files},
        "receipt": None if receipt is None else msgspec.to_builtins(receipt),
        "version": __version__,
    }


def convert(text: str, positions: Iterable[int], unit: OffsetUnit) -> dict[int, int]:
    """Convert positions to a unit, in one pass over the text.

    Python counts code points, C and Rust count bytes, JavaScript, Java and C# count UTF-16 units; an emoji is one,
    four and two of them.

    Args:
        text: without lone surrogates.
        positions: in characters, 0 to len(text).
        unit: of the result.
    """
    wanted = sorted(set(positions))
    if unit == "character" or text.isascii():
        return {position: position for position in wanted}
    codec, size = _CODECS[unit]
    converted, done, units = {}, 0, 0
    for position in wanted:
        units += len(text[done:position].encode(codec)) // size
        converted[position] = units
        done = position
    return converted
