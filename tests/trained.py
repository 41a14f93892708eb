"""Helpers of the tests of training: a job on a tiny model, and a short run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qa_onnx.train import TrainSettings
from qa_onnx.train.job import TrainingJob, prepare_job
from qa_onnx.train.state import State
from qa_onnx.train.trainer import Trainer
from tests.exports import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qa_onnx.train.trainer import Status

# Always in float32: by default a CPU with bfloat16 instructions uses them.
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


def make_job(data: Path, *, kind: str = "bert", teacher: str | None = None, **changes: Any) -> TrainingJob:
    """Prepare a job on a tiny model."""
    settings = TrainSettings(**{**SMALL, **changes})
    return prepare_job(
        checkpoint(kind), [data], settings, teacher=None if teacher is None else checkpoint(teacher)
    )


def run(job: TrainingJob, folder: Path, *, state: State | None = None, **arguments: Any) -> State:
    """Train to the end; return the state, which is in the folder as well."""
    folder.mkdir(exist_ok=True)
    state = State(job.fingerprint()) if state is None else state
    Trainer(job, folder=folder, state=state, **arguments).run()
    return state


class StoppedError(Exception):
    """End of a run in the middle."""


def stop_at(step: int) -> Callable[[Status], None]:
    """Return an `on_step` that ends a run after a step."""

    def on_step(status: Status) -> None:
        if status.steps == step:
            raise StoppedError

    return on_step


def weights_of(job: TrainingJob) -> dict[str, bytes]:
    """The weights of a job's model, to compare."""
    return {name: parameter.detach().numpy().tobytes() for name, parameter in job.base.model.named_parameters()}


def weights_in(path: Path) -> dict[str, bytes]:
    """The weights in a file, to compare."""
    from safetensors.numpy import load_file

    return {name: array.tobytes() for name, array in load_file(path).items()}


def strip_head(folder: Path, keep: str = "bert.") -> Path:
    """Make a bare encoder of a checkpoint."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = {
        name.removeprefix("bert."): value for name, value in load_file(path).items() if name.startswith(keep)
    }
    save_file(weights, path, {"format": "pt"})
    return folder
