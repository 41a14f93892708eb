"""What several tests of training share: a base, its job, and a short run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qa_onnx.train import TrainSettings
from qa_onnx.train.base import load_base
from qa_onnx.train.device import choose_place
from qa_onnx.train.features import build
from qa_onnx.train.loop import Loop
from qa_onnx.train.questions import read_questions
from qa_onnx.train.record import TrainingJob
from qa_onnx.train.state import State
from qa_onnx.train.tally import Tally
from tests.exports import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qa_onnx.train.loop import Status

# In float32 whatever the CPU: by themselves, settings take bfloat16 where it has instructions for it.
SMALL: dict[str, Any] = {
    "bf16": False,
    "max_length": 96,
    "learning_rate": 3e-3,
    "batch_size": 8,
    "batch_tokens": 256,
    "eval_limit": 20,
    "evaluations": 3,
    "epochs": 0.5,
}


def job(data: Path, *, kind: str = "bert", base: Path | None = None, **changes: Any) -> TrainingJob:
    """A job on a tiny model."""
    settings = TrainSettings(**{**SMALL, **changes})
    tally = Tally()
    questions = read_questions([data], None, settings, tally)
    loaded = load_base(str(checkpoint(kind) if base is None else base), settings)
    features = build(questions.train, loaded.windower, settings.options(), tally=tally, seed=settings.seed)
    return TrainingJob(settings, loaded, questions, features, choose_place(settings), tally)


def run(
    made: TrainingJob, folder: Path, tell: Callable[[Status], None] | None = None, state: State | None = None
) -> State:
    """Train to the end; returns the state, which is in the folder as well."""
    folder.mkdir(exist_ok=True)
    state = State(made.fingerprint()) if state is None else state
    Loop(made, folder=folder, state=state, tell=tell).run()
    return state


def weights_of(made: TrainingJob) -> dict[str, Any]:
    """A copy of a job's weights."""
    return {name: parameter.detach().clone() for name, parameter in made.base.model.named_parameters()}
