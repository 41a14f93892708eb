"""A finished run -> what stands in training.json."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

import qa_onnx
from qa_onnx.machine.cpu import instruction_sets

if TYPE_CHECKING:
    from qa_onnx.train.base import Base
    from qa_onnx.train.device import TorchDevice
    from qa_onnx.train.features import Features
    from qa_onnx.train.questions import Questions
    from qa_onnx.train.settings import TrainSettings
    from qa_onnx.train.state import State
    from qa_onnx.train.tally import Tally
    from qa_onnx.train.teacher import Teacher

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingJob:
    """A run: what is trained on what, where and how.

    Attributes:
        settings: of the run.
        base: the model.
        questions: from the data.
        features: made of them.
        place: where it is computed.
        tally: what became of the questions.
        teacher: whose probabilities it learns too; None: there is no teacher.
    """

    settings: TrainSettings
    base: Base
    questions: Questions
    features: Features
    place: TorchDevice
    tally: Tally
    teacher: Teacher | None = None

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for a run to go on as if it had not been interrupted."""
        chosen = dataclasses.asdict(self.settings)
        del chosen["save_every_s"]
        if self.teacher is None:
            del chosen["teacher_share"]
        held_out = self.questions.held_out
        return {
            **chosen,
            **dataclasses.asdict(self.place),
            "base": self.base.sha256,
            "teacher": self.teacher.sha256() if self.teacher else None,
            "data": self.features.sha256(),
            "evaluation data": held_out.sha256 if held_out else "",
        }


def make_record(job: TrainingJob, state: State, *, name: str, licence: str, peak_rate: float) -> dict[str, Any]:
    """All that is known of a run, as JSON.

    Args:
        job: what was asked for.
        state: how it ended.
        name: of the trained model.
        licence: of its weights.
        peak_rate: the highest learning rate.
    """
    base = job.base
    best = [one for one in state.evaluations if one["best"]]
    return {
        "name": name,
        "base": {**_model(base), "fresh_head": bool(base.fresh)},
        "teacher": _model(job.teacher.base) if job.teacher else None,
        "data": [dataclasses.asdict(source) for source in job.questions.sources],
        "held_out": _held_out(job.questions),
        "report": job.tally.lines(),
        "questions": job.tally.record(),
        "licence": licence,
        "settings": dataclasses.asdict(job.settings),
        "run": _run(job, state, peak_rate),
        "result": best[-1] if best else None,
        "evaluations": state.evaluations,
        "losses": state.losses,
        "versions": {"qa-onnx": qa_onnx.__version__, **{name: metadata.version(name) for name in _PACKAGES}},
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
    found = questions.held_out
    if found is None:
        return None
    trained_on = {gold.article for gold in questions.train}
    return {
        "own": questions.own,
        "name": found.name,
        "sha256": found.sha256,
        "questions": len(found.golds),
        "unanswerable": sum(not gold.answers for gold in found.golds),
        # Where there are few, single texts are held out, and the others of their article are not.
        "articles": sorted({gold.article for gold in found.golds if gold.article} - trained_on)
        if questions.own
        else [],
    }


def _run(job: TrainingJob, state: State, peak_rate: float) -> dict[str, Any]:
    return {
        "features": len(job.features),
        "features_sha256": job.features.sha256(),
        "examples": state.position,
        "epochs": state.position / len(job.features),
        "steps": state.steps,
        "minutes": state.elapsed / 60,
        "learning_rate": peak_rate,
        **dataclasses.asdict(job.place),
        "threads": state.threads,
        "instruction_sets": list(instruction_sets()),
    }
