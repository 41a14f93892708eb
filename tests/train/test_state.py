"""The state of a run: one file, whole or not there, without pickles."""

from __future__ import annotations

import copy
import errno
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import TrainError
from qa_onnx.train.state import State, load_weights, read_state, restore, save_state, save_weights, weights

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.export

torch = pytest.importorskip("torch")


@pytest.fixture
def parts() -> tuple[Any, Any]:
    """A model with an optimizer that has taken a step; two names, of which one is the other's beginning."""
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 2), "ab": torch.nn.Linear(2, 2)})
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model["ab"](model["a"](torch.ones(1, 3))).sum().backward()
    optimizer.step()
    return model, optimizer


def test_a_saved_state_is_restored(parts: tuple[Any, Any], tmp_path: Path) -> None:
    model, optimizer = parts
    assert read_state(tmp_path) is None
    state = State({"seed": 1}, 64, 2, 1.5, [4.25, 1 / 3], [{"f1": 2.0}], "", threads=2)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        save_state(tmp_path, state, model, optimizer)
        drawn = torch.rand(3)
    assert read_state(tmp_path) == state
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    fresh = torch.optim.AdamW(other.parameters(), fused=True)
    with torch.random.fork_rng():
        restore(tmp_path, other, fresh)
        assert torch.equal(torch.rand(3), drawn)
    for ours, theirs in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert fresh.state[ours].keys() == optimizer.state[theirs].keys()
        assert all(torch.equal(fresh.state[ours][key], value) for key, value in optimizer.state[theirs].items())


def test_best_weights_that_it_does_not_name_are_removed(parts: tuple[Any, Any], tmp_path: Path) -> None:
    for name in ("best-1.safetensors", "best-2.safetensors"):
        save_weights(tmp_path / name, parts[0])
    save_state(tmp_path, State({}, best="best-2.safetensors"), *parts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-2.safetensors", "state.safetensors"]


def test_a_full_disk_leaves_the_last_state(
    parts: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, State({}, steps=1), *parts)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainError, match="No space left on device; the last saved state is kept"):
        save_state(tmp_path, State({}, steps=2), *parts)
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]
    state = read_state(tmp_path)
    assert state
    assert state.steps == 1


@pytest.mark.parametrize("damage", ["cut", "garbage", "header", "format"])
def test_damage_is_named(parts: tuple[Any, Any], tmp_path: Path, damage: str) -> None:
    from safetensors.torch import save_file

    save_state(tmp_path, State({}), *parts)
    path = tmp_path / "state.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "garbage":
        path.write_bytes(b"\x80\x04pickle")
    else:
        save_file(weights(parts[0]), path, {"format": "9"} if damage == "format" else {})
    with pytest.raises(TrainError, match="has format 9" if damage == "format" else "is damaged"):
        read_state(tmp_path)


def test_the_weights_of_another_model_are_refused(parts: tuple[Any, Any], tmp_path: Path) -> None:
    save_weights(tmp_path / "best", torch.nn.Linear(3, 2))
    with pytest.raises(TrainError, match="holds the weights of another model"):
        load_weights(tmp_path / "best", parts[0])
