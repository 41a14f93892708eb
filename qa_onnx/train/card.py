"""A run's record -> the model card, README.md, that goes with the weights."""

from __future__ import annotations

import json
from typing import Any


def card(record: dict[str, Any]) -> str:
    """The model card of a trained model.

    Args:
        record: as it stands in training.json.
    """
    base, settings, result = record["base"], record["settings"], record["result"]
    head = ["---", "library_name: transformers", "pipeline_tag: question-answering"]
    head += [f"base_model: {json.dumps(base['name'])}", "---"]
    parts = [
        "\n".join(head),
        f"# {record['name']}",
        f"An extractive question answering model ({base['model_type']}, {base['parameters'] / 1e6:.1f} million "
        f"weights), trained with qa-onnx {record['versions']['qa-onnx']} from {base['name']}"
        + (", an encoder: its head is new." if base["fresh_head"] else "."),
        "## Data\n\n" + _data(record),
        "## Training\n\n" + _training(record, settings),
        "![Loss and F1 over the steps](training.svg)",
        "## Result\n\n" + _result(record, result),
        f"## Licence\n\n{record['licence']}",
        "All of this, and more of it, stands in training.json.",
    ]
    return "\n\n".join(parts) + "\n"


def _data(record: dict[str, Any]) -> str:
    lines = [
        f"- {source['name']}: {source['questions']:,} questions, SHA-256 `{source['sha256']}`"
        for source in record["data"]
    ]
    lines += [f"- {line}" for line in record["report"]]
    held_out = record["held_out"]
    if held_out and held_out["own"]:
        lines.append(f"- held out of training, to choose the best weights: {held_out['questions']:,} questions")
    if held_out and held_out["articles"]:
        lines.append(f"- articles held out: {', '.join(held_out['articles'])}")
    return "\n".join(lines)


def _training(record: dict[str, Any], settings: dict[str, Any]) -> str:
    run = record["run"]
    products = "bfloat16" if run["bf16"] else "float32"
    teacher = record["teacher"]
    taught = (
        f" Of the loss, {settings['teacher_share']:.0%} is the cross entropy to the probabilities of "
        f"{teacher['name']} ({teacher['model_type']}, {teacher['parameters'] / 1e6:.1f} million weights)."
        if teacher
        else ""
    )
    return (
        f"{run['examples']:,} windows of at most {settings['max_length']} tokens, {run['epochs']:.2f} epochs of "
        f"{run['features']:,}, in {run['steps']:,} steps of {settings['batch_size']}, {run['minutes']:.0f} "
        f"minutes on {run['device']}, {run['threads']} threads, products in {products}. "
        f"AdamW, weight decay {settings['weight_decay']:g}, learning rate {run['learning_rate']:g} with a warm-up "
        f"of {settings['warmup']:.0%} and linear decay to zero, gradients cut to a norm of {settings['clip']:g}; "
        f"dropout {settings['dropout']:g}, none in attention; seed {settings['seed']}.{taught}"
    )


def _result(record: dict[str, Any], result: dict[str, Any] | None) -> str:
    if result is None:
        return "Not measured: there was no question to evaluate on. The weights are the last ones."
    said = (
        f"EM {result['em']:.2f}, F1 {result['f1']:.2f} on {result['n']:,} questions "
        f"({record['held_out']['name']}), at step {result['steps']:,}, the best of {len(record['evaluations'])} "
        "evaluations. The weights were chosen on these questions, so the figure is on the high side."
    )
    if record["held_out"]["unanswerable"]:
        said += (
            f" {record['held_out']['unanswerable']:,} of them have no answer; the scores are those at the best "
            "null threshold."
        )
        if result["has_answer_f1"] is not None:
            said += f" Of those with an answer, always answering, F1 is {result['has_answer_f1']:.2f}."
    return said
