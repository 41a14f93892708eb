"""A run's state <-> one safetensors file, replaced in one step: whatever kills a run leaves the last one whole.

    state.safetensors        weights, AdamW's moments, random numbers, losses; the rest as JSON in its header
    best-<step>.safetensors  weights of the best evaluation; the state names it

No pickle is written or read. The order of the examples is a function of seed and position (order.py), so that
nothing of it needs to be saved.
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


@dataclass(slots=True)
class State:
    """How far a run is.

    Attributes:
        fingerprint: what the run was started with; another run cannot go on from here.
        position: examples seen.
        steps: of the optimizer.
        elapsed: seconds.
        losses: of each step.
        evaluations: each as JSON: step, position, elapsed, score and whether it was the best so far.
        best: name of the file with the best weights; "" before the first evaluation.
        done: nothing is left but to write the result.
        threads: that the last steps were computed with.
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


def weights(model: Any) -> dict[str, Any]:
    """A model's weights by name, each once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def save_weights(path: Path, model: Any) -> None:
    """Write a model's weights."""
    _write(path, weights(model), {})


def load_weights(path: Path, model: Any) -> None:
    """Read a model's weights.

    Raises:
        TrainError: the file is damaged, or of another model.
    """
    tensors, _ = _read(path)
    _fill(path, tensors, weights(model))


def save_state(folder: Path, state: State, model: Any, optimizer: Any) -> None:
    """Write a run's state, and remove best weights that it does not name.

    Raises:
        TrainError: it cannot be written.
    """
    import torch

    tensors = {f"model.{name}": tensor for name, tensor in weights(model).items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"optimizer.{name}.{key}": value for key, value in optimizer.state[parameter].items()}
    tensors["losses"] = torch.tensor(state.losses, dtype=torch.float64)
    tensors["random.cpu"] = torch.random.get_rng_state()
    if torch.cuda.is_initialized():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    _write(folder / STATE, tensors, _header(state))
    for path in folder.glob("best-*.safetensors"):
        if path.name != state.best:
            path.unlink()


def _header(state: State) -> dict[str, str]:
    facts = {name: getattr(state, name) for name in State.__dataclass_fields__ if name != "losses"}
    return {"format": str(_FORMAT), "state": json.dumps(facts)}


def save_start(folder: Path, state: State) -> None:
    """Write the state of a run that has taken no step, so that it is held to its arguments from now on.

    Raises:
        TrainError: it cannot be written.
    """
    import torch

    _write(folder / STATE, {"losses": torch.zeros(0, dtype=torch.float64)}, _header(state))


def read_state(folder: Path) -> State | None:
    """The state in a folder; None: there is none.

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
    """Bring weights, optimizer and random numbers back to the state in a folder.

    Raises:
        TrainError: it is damaged.
    """
    import torch

    path = folder / STATE
    tensors, _ = _read(path)
    _fill(
        path,
        {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")},
        weights(model),
    )
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}."
        found = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        # Not `.weight` of `a` where there is `a.weight`: a key of the optimizer has no dot.
        optimizer.state[parameter] = {
            key: tensor.to(parameter.device) for key, tensor in found.items() if "." not in key
        }
    torch.random.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _fill(path: Path, tensors: dict[str, Any], into: dict[str, Any]) -> None:
    if tensors.keys() != into.keys():
        raise TrainError(f"{path} holds the weights of another model: remove it, or train with --replace")
    for name, tensor in into.items():
        tensor.copy_(tensors[name])


def _write(path: Path, tensors: dict[str, Any], header: dict[str, str]) -> None:
    """Write a file under another name, and put it in place when it is on the disk."""
    from safetensors.torch import save_file

    draft = path.with_name(f"{path.name}.partial")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, header)
        with draft.open("r+b") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
        draft.replace(path)
    except Exception as error:  # safetensors has an exception of its own for a full disk
        with contextlib.suppress(OSError):
            draft.unlink()
        raise TrainError(f"cannot write {path}: {error}; the last state is still there") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TrainError:
    return TrainError(f"{path} is damaged ({error}): train again with --replace")
