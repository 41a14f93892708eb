"""Base, data and settings -> a TrainingJob: everything that the first step of a run needs."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import InputError
from qa_onnx.train.base import choose_device, load_base
from qa_onnx.train.corpus import Tally, nothing_left
from qa_onnx.train.questions import read_questions
from qa_onnx.train.targets import build
from qa_onnx.train.teacher import load_teacher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qa_onnx.train.base import Base, TorchDevice
    from qa_onnx.train.questions import Questions
    from qa_onnx.train.settings import TrainSettings
    from qa_onnx.train.targets import Features
    from qa_onnx.train.teacher import Teacher

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingJob:
    """A model, what it is trained on, where and how.

    Attributes:
        settings: of the run.
        base: the model.
        questions: of the data.
        features: their windows.
        device: where the model runs.
        tally: what became of the questions.
        teacher: the model whose probabilities are learned too; None: there is no teacher.
    """

    settings: TrainSettings
    base: Base
    questions: Questions
    features: Features
    device: TorchDevice
    tally: Tally
    teacher: Teacher | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Return all that must be equal for a run to resume as if it had not been interrupted."""
        settings = dataclasses.asdict(self.settings)
        del settings["save_every_s"]
        if self.teacher is None:
            del settings["teacher_share"]
        held_out = self.questions.held_out
        return {
            **settings,
            **dataclasses.asdict(self.device),
            "base": self.base.sha256,
            "teacher": self.teacher.sha256() if self.teacher else None,
            "data": self.features.sha256(),
            "evaluation data": held_out.sha256 if held_out else "",
        }


def prepare_job(
    base: str | Path,
    data: Sequence[str | Path],
    settings: TrainSettings,
    *,
    eval_data: str | Path | None = None,
    teacher: str | Path | None = None,
) -> TrainingJob:
    """Load models and data, and cut the windows; the arguments and errors are those of `train`."""
    device = choose_device(settings)
    tally = Tally()
    questions = read_questions(data, eval_data, settings, tally)
    student = load_base(str(base), settings)
    features = build(questions.train, student.windower, settings.options(), tally=tally, seed=settings.seed)
    for line in tally.lines():
        _LOG.info("%s", line)
    if not tally.counts.get("answerable"):
        raise InputError(nothing_left(data, tally))
    loaded = None if teacher is None else load_teacher(str(teacher), student, features, settings, device)
    return TrainingJob(settings, student, questions, features, device, tally, loaded)
