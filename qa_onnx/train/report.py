"""A finished run -> its documents: training.json, the plot training.svg and the model card README.md."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

import qa_onnx
from qa_onnx.appearance.plots import INK, LINE, PAPER, legend_below, new_axes, svg
from qa_onnx.machine.cpu import instruction_sets
from qa_onnx.machine.packages import versions
from qa_onnx.train.optimization import peak_learning_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.train.base import Base
    from qa_onnx.train.job import TrainingJob
    from qa_onnx.train.questions import Questions
    from qa_onnx.train.state import State

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
_POINTS = 300  # of the plotted loss
_UNKNOWN_LICENCE = "Not stated. The licence of the data and that of the base model apply to the weights."


def make_record(job: TrainingJob, state: State, *, name: str, licence: str | None) -> dict[str, Any]:
    """Return the content of training.json."""
    return {
        "name": name,
        "base": {**_model(job.base), "fresh_head": bool(job.base.fresh)},
        "teacher": _model(job.teacher.base) if job.teacher else None,
        "data": [dataclasses.asdict(source) for source in job.questions.sources],
        "held_out": _held_out(job.questions),
        "report": job.tally.lines(),
        "questions": dataclasses.asdict(job.tally),
        "licence": _UNKNOWN_LICENCE if licence is None else licence,
        "settings": dataclasses.asdict(job.settings),
        "run": {
            "features": len(job.features),
            "features_sha256": job.features.sha256(),
            "examples": state.position,
            "epochs": state.position / len(job.features),
            "steps": state.steps,
            "minutes": state.elapsed / 60,
            "learning_rate": peak_learning_rate(job.base, job.settings),
            **dataclasses.asdict(job.device),
            "threads": state.threads,
            "instruction_sets": list(instruction_sets()),
        },
        "result": state.best_evaluation(),
        "evaluations": state.evaluations,
        "losses": state.losses,
        "versions": {"qa-onnx": qa_onnx.__version__, **versions(_PACKAGES)},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _model(base: Base) -> dict[str, Any]:
    return {
        "name": base.name,
        "revision": base.revision,
        "sha256": base.sha256,
        "model_type": base.model.config.model_type,
        "parameters": sum(int(parameter.numel()) for parameter in base.model.parameters()),
    }


def _held_out(questions: Questions) -> dict[str, Any] | None:
    data = questions.held_out
    if data is None:
        return None
    trained_on = {gold.article for gold in questions.train}
    # If there are few articles, single contexts are held out, and others of their articles are trained on.
    articles = sorted({gold.article for gold in data.golds if gold.article} - trained_on)
    return {
        "own": questions.own,
        "name": data.name,
        "sha256": data.sha256,
        "questions": len(data.golds),
        "unanswerable": sum(not gold.answers for gold in data.golds),
        "articles": articles if questions.own else [],
    }


def model_card(record: dict[str, Any]) -> str:
    """Return the model card of a run's record: metadata for the Hugging Face Hub, and a text."""
    from huggingface_hub import EvalResult, ModelCardData

    base, result = record["base"], record["result"]
    data = ModelCardData(library_name="transformers", pipeline_tag="question-answering", base_model=base["name"])
    if result is not None:
        data.model_name = record["name"]
        task, name = "question-answering", record["held_out"]["name"]
        data.eval_results = [
            EvalResult(task, "custom", name, metric, round(result[key], 2))
            for metric, key in (("exact_match", "em"), ("f1", "f1"))
        ]
    head = ", an encoder: its head is new" if base["fresh_head"] else ""
    return f"""---
{data.to_yaml()}
---

# {record["name"]}

An extractive question answering model ({_kind(base)}), trained with qa-onnx {record["versions"]["qa-onnx"]} from \
{base["name"]}{head}.

## Data

{_data(record)}

## Training

{_training(record)}

![Loss and F1 over the steps](training.svg)

## Result

{_result(record)}

## Licence

{record["licence"]}

training.json holds all of this, and more.
"""


def _kind(model: dict[str, Any]) -> str:
    return f"{model['model_type']}, {model['parameters'] / 1e6:.1f} million weights"


def _data(record: dict[str, Any]) -> str:
    files = record["data"]
    lines = [f"{file['name']}: {file['questions']:,} questions, SHA-256 `{file['sha256']}`" for file in files]
    lines += record["report"]
    held_out = record["held_out"]
    if held_out and held_out["own"]:
        lines.append(f"held out of training, to choose the best weights: {held_out['questions']:,} questions")
    if held_out and held_out["articles"]:
        lines.append(f"articles held out: {', '.join(held_out['articles'])}")
    return "\n".join(f"- {line}" for line in lines)


def _training(record: dict[str, Any]) -> str:
    run, settings, teacher = record["run"], record["settings"], record["teacher"]
    text = (
        f"{run['examples']:,} windows of at most {settings['max_length']} tokens, {run['epochs']:.2f} epochs of "
        f"{run['features']:,}, in {run['steps']:,} steps of {settings['batch_size']}, {run['minutes']:.0f} "
        f"minutes on {run['device']}, {run['threads']} threads, matrix products in "
        f"{'bfloat16' if run['bf16'] else 'float32'}. AdamW, weight decay {settings['weight_decay']:g}, learning "
        f"rate {run['learning_rate']:g} with a warm-up of {settings['warmup']:.0%} and linear decay to zero, "
        f"gradients clipped to a norm of {settings['max_grad_norm']:g}; dropout {settings['dropout']:g}, none in "
        f"attention; seed {settings['seed']}."
    )
    if teacher:
        text += (
            f" {settings['teacher_share']:.0%} of the loss is the cross entropy to the probabilities of "
            f"{teacher['name']} ({_kind(teacher)})."
        )
    return text


def _result(record: dict[str, Any]) -> str:
    result, held_out = record["result"], record["held_out"]
    if result is None:
        return "Not measured: there was no question to evaluate on. The weights are the last ones."
    text = (
        f"EM {result['em']:.2f}, F1 {result['f1']:.2f} on {result['n']:,} questions ({held_out['name']}), at step "
        f"{result['steps']:,}, the best of {len(record['evaluations'])} evaluations. The weights were chosen on "
        "these questions, so the scores are optimistic."
    )
    if held_out["unanswerable"]:
        text += f" {held_out['unanswerable']:,} of them have no answer; the scores use the best null threshold."
        if result["has_answer_f1"] is not None:
            text += f" On those with an answer, always answering, F1 is {result['has_answer_f1']:.2f}."
    return text


def downsample(losses: Sequence[float], points: int = _POINTS) -> tuple[list[int], list[float]]:
    """Return the last steps of at most so many stretches of a run, and the mean loss of each."""
    parts = np.array_split(np.asarray(losses), min(points, len(losses)))
    return np.cumsum([len(part) for part in parts]).tolist(), [float(part.mean()) for part in parts]


def plot(state: State) -> str:
    """Return the SVG of a run: loss above, F1 and EM below, over the steps; readable in black and white."""
    best = state.best_evaluation()
    panels = new_axes(height=4.2, rows=2) if best else [new_axes(height=2.3)]
    for axes in panels:
        axes.grid(axis="y", color=LINE)
    panels[0].plot(*downsample(state.losses), color=INK)
    panels[0].set(ylabel="loss", ylim=(0, None))
    if best:
        steps, f1, em = ([evaluation[key] for evaluation in state.evaluations] for key in ("steps", "f1", "em"))
        label = f"F1, at best {best['f1']:.1f}"
        panels[1].plot(steps, f1, "o-", color=INK, label=label)
        panels[1].plot(steps, em, "s--", color=INK, markerfacecolor=PAPER, label="exact match")
        panels[1].set(ylabel="held-out questions (%)", ymargin=0.2)
    panels[-1].set(xlabel="step", xlim=(0, None))
    if best:
        legend_below(panels[1])
    return svg(panels[0])
