"""What is called after each step: the log of a run, and the lines for experiment trackers in docs/training.md."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import TrainError
from qa_onnx.train import JsonLinesLog, Status
from tests import training_data
from tests.trained import make_job, run

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[2] / "docs" / "training.md"


def status(step: int, *, f1: float | None = None) -> Status:
    return Status(step, 1 / step, 0.1, f1, f1, 0.5, 0.1, 0.2, 3.5, 7.0, None)


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()]


# The log


def test_each_line_is_complete_at_once(tmp_path: Path) -> None:
    log = JsonLinesLog(tmp_path / "log.jsonl")
    log(status(1))
    assert json.loads((tmp_path / "log.jsonl").read_bytes()) == {
        **{"step": 1, "loss": 1.0, "learning_rate": 0.1, "mean_loss": 0.5, "epoch": 0.1, "progress": 0.2},
        **{"elapsed_s": 3.5, "examples_per_second": 7.0},
    }
    log(status(2, f1=80.5))
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line).get("f1") for line in lines] == [None, 80.5]
    log.close()


@pytest.mark.parametrize(("resume", "expected"), [(True, [1, 2, 3, 4]), (False, [3, 4])])
def test_a_resumed_run_keeps_the_lines_before_its_step(resume: bool, expected: list[int], tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLinesLog(path)
    for step in range(1, 6):
        log(status(step))
    log.close()
    path.write_bytes(path.read_bytes() + b'{"step": 6, "lo')  # a full disk
    before = path.read_bytes()
    log = JsonLinesLog(path, resume=resume)
    assert path.read_bytes() == before  # until the first step
    log(status(3))
    log(status(4))
    log.close()
    assert steps(path) == expected


@pytest.mark.parametrize("content", ["my notes\n", "[1]\n", '{"question": "Who?"}\n'])
def test_a_file_that_is_no_log_is_left_alone(content: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    for resume in (False, True):
        with pytest.raises(TrainError, match="holds something else than the log of a run: name another log"):
            JsonLinesLog(path, resume=resume)
    assert path.read_text() == content
    with pytest.raises(TrainError, match=r"cannot write .*: Is a directory: name another log"):
        JsonLinesLog(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_run_with_an_error() -> None:
    log = JsonLinesLog("/dev/full")
    with pytest.raises(TrainError, match=r"cannot write /dev/full: No space left on device; go on with --resume"):
        log(status(1))
    log.close()


# Experiment trackers


def lines_of_docs(name: str) -> str:
    """The block of docs/training.md that imports a module."""
    blocks = re.findall(r"^```text\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if f"import {name}" in block)
    assert len(block.splitlines()) == 3
    return str(block)


class FakeTracker(ModuleType):
    """The parts of tensorboard, wandb and mlflow that the docs use."""

    def __init__(self) -> None:
        super().__init__("tracker")
        self.curves: dict[str, dict[int, float]] = {}
        self.SummaryWriter = self.init = self.start_run = lambda *_, **__: self

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.curves.setdefault(tag, {})[global_step] = scalar_value

    def log(self, data: dict[str, float], step: int) -> None:
        for name, value in data.items():
            self.add_scalar(name, value, step)

    log_metrics = log


@pytest.mark.export
@pytest.mark.cpu
def test_the_lines_for_trackers_draw_loss_and_f1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackers: list[FakeTracker] = []
    callbacks: list[Callable[[Status], object]] = []
    for module, name in (("torch.utils.tensorboard", "SummaryWriter"), ("wandb", "wandb"), ("mlflow", "mlflow")):
        trackers.append(FakeTracker())
        monkeypatch.setitem(sys.modules, module, trackers[-1])
        names: dict[str, Any] = {}
        exec(lines_of_docs(name), names)
        callbacks.append(names["callback"])

    def callback(status: Status) -> None:
        for call in callbacks:
            call(status)

    job = make_job(training_data.write(tmp_path / "data.json"))
    state = run(job, tmp_path / "run", callback=callback)
    for tracker in trackers:
        assert list(tracker.curves["loss"].values()) == state.losses
        assert tracker.curves["f1"] == {one["steps"]: one["f1"] for one in state.evaluations}
        assert tracker.curves.keys() == {"loss", "learning_rate", "f1", "em"}
