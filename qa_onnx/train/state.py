"""State of a run <-> one safetensors file, replaced atomically: a run that is killed leaves the last state whole.

    state.safetensors        weights, AdamW's moments, random state, losses; the rest as JSON in its header
    best-<step>.safetensors  weights of the best evaluation; the state names the file

No pickle is written or read. The order of the examples is not saved: it is a function of seed and position.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import TrainError

if TYPE_CHECKING:
    from pathlib import Path

STATE = "state.safetensors"
_FORMAT = 1
RECENT = 50  # steps over which loss and speed are averaged


@dataclass(slots=True)
class State:
    """The position of a run and its results so far.

    Attributes:
        fingerprint: of the job; only an equal job can resume from here.
        position: number of examples that were trained on.
        steps: of the optimizer.
        elapsed: seconds since the first step, excluding interruptions.
        losses: of each step.
        evaluations: each as JSON: step, position, elapsed, score and whether none before it was better.
        best: name of the file with the best weights; "" before the first evaluation.
        done: training is finished; only the result is still to be written.
        threads: of PyTorch, in the last steps.
    """

    fingerprint: dict[str, Any]
    position: int = 0
    steps: int = 0
    elapsed: float = 0.0
    losses: list[float] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    best: str = ""
    done: bool = False
    threads: int = 0

    def recent_loss(self) -> float:
        """Return the mean loss of the last 50 steps."""
        return sum(self.losses[-RECENT:]) / len(self.losses[-RECENT:])

    def best_evaluation(self) -> dict[str, Any] | None:
        """Return the evaluation with the highest F1, of equals the last; None: there is none."""
        return next((evaluation for evaluation in reversed(self.evaluations) if evaluation["best"]), None)


def weights(model: Any) -> dict[str, Any]:
    """Return a model's weights by name, shared ones once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def save_weights(path: Path, model: Any) -> None:
    """Write a model's weights.

    Raises:
        TrainError: they cannot be written.
    """
    _write(path, weights(model), {})


def load_weights(path: Path, model: Any) -> None:
    """Read a model's weights.

    Raises:
        TrainError: the file is damaged, or of another model.
    """
    _copy(path, _read(path)[0], weights(model))


def save_state(folder: Path, state: State, model: Any = None, optimizer: Any = None) -> None:
    """Write the state of a run, and remove best weights that it does not name.

    Without model and optimizer it is the state before the first step, which has the arguments of the run.

    Raises:
        TrainError: it cannot be written.
    """
    import torch

    tensors = {"losses": torch.tensor(state.losses, dtype=torch.float64)}
    if model is not None:
        tensors |= {f"model.{name}": tensor for name, tensor in weights(model).items()}
        for name, parameter in model.named_parameters():
            tensors |= {f"optimizer.{name}.{key}": value for key, value in optimizer.state[parameter].items()}
        tensors["random.cpu"] = torch.random.get_rng_state()
        if torch.cuda.is_initialized():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
    values = {name: getattr(state, name) for name in State.__dataclass_fields__ if name != "losses"}
    _write(folder / STATE, tensors, {"format": str(_FORMAT), "state": json.dumps(values)})
    for path in folder.glob("best-*.safetensors"):
        if path.name != state.best:
            path.unlink()


def read_state(folder: Path) -> State | None:
    """Read the state in a folder; None: there is none.

    Raises:
        TrainError: it is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    tensors, header = _read(path)
    try:
        if int(header["format"]) != _FORMAT:
            raise TrainError(f"{path} has format {header['format']}; this release reads {_FORMAT}")
        return State(**json.loads(header["state"]), losses=tensors["losses"].tolist())
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def restore(folder: Path, model: Any, optimizer: Any) -> None:
    """Copy weights, optimizer and random state from the state in a folder.

    Raises:
        TrainError: it is damaged.
    """
    import torch

    path = folder / STATE
    saved: dict[str, dict[str, Any]] = {}
    for full_name, tensor in _read(path)[0].items():
        kind, _, name = full_name.partition(".")
        saved.setdefault(kind, {})[name] = tensor
    _copy(path, saved["model"], weights(model))
    parameters = dict(model.named_parameters())
    for full_name, tensor in saved["optimizer"].items():
        name, _, key = full_name.rpartition(".")  # a parameter's name has dots, a key of the optimizer none
        optimizer.state[parameters[name]][key] = tensor.to(parameters[name].device)
    torch.random.set_rng_state(saved["random"]["cpu"])
    if "cuda" in saved["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["random"]["cuda"])


def _copy(path: Path, tensors: dict[str, Any], into: dict[str, Any]) -> None:
    if tensors.keys() != into.keys():
        raise TrainError(f"{path} holds the weights of another model: remove it, or train with --replace")
    for name, tensor in into.items():
        tensor.copy_(tensors[name])


def _write(path: Path, tensors: dict[str, Any], header: dict[str, str]) -> None:
    """Write a file under another name, and rename it once it is on the disk."""
    from safetensors.torch import save_file

    draft = path.with_name(f"{path.name}.partial")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, header)
        with draft.open("r+b") as file:  # Windows syncs only files that are open for writing
            os.fsync(file.fileno())
        draft.replace(path)
    except Exception as error:  # safetensors has an exception of its own for a full disk
        with contextlib.suppress(OSError):
            draft.unlink()
        raise TrainError(f"cannot write {path}: {error}; the last saved state is kept") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TrainError:
    return TrainError(f"{path} is damaged ({error}): start again with --replace")
