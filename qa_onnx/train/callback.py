"""Status of a training run after each step, for a progress bar, a file or an experiment tracker."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from qa_onnx.errors import TrainError


@dataclass(frozen=True, slots=True)
class Status:
    """Progress of a run after a step.

    Attributes:
        step: number of steps of the optimizer so far.
        loss: of this step.
        learning_rate: of this step.
        f1: per cent on the held-out questions, if the model was evaluated after this step; else None.
        em: exact match, likewise.
        mean_loss: of the last 50 steps.
        epoch: passes over the examples so far.
        progress: 0 to 1.
        elapsed_s: seconds since the first step, interruptions excluded.
        examples_per_second: mean of the last 50 steps, evaluations excluded.
        to_go_s: estimated seconds to the end of the run; None: not known yet.
    """

    step: int
    loss: float
    learning_rate: float
    f1: float | None
    em: float | None
    mean_loss: float
    epoch: float
    progress: float
    elapsed_s: float
    examples_per_second: float
    to_go_s: float | None

    def metrics(self) -> dict[str, float]:
        """Return what experiment trackers draw: loss and learning rate and, after an evaluation, F1 and EM."""
        values = {"loss": self.loss, "learning_rate": self.learning_rate, "f1": self.f1, "em": self.em}
        return {name: value for name, value in values.items() if value is not None}


class TrainingCallback(Protocol):
    """What is called after each step of a run, and after the evaluation if one is due then.

    An exception that it raises ends the run, which can resume from its last save.
    """

    def __call__(self, status: Status, /) -> object:
        """Take the status of the run; what is returned does not matter."""


class JsonLinesLog:
    """Callback that writes the status as a line of JSON, without what is None or NaN, as soon as a step is done.

    A line is written in one go, so the file is valid even if the run is killed.

    Args:
        path: of the file; an earlier log there is replaced at the first step.
        resume: keep the lines of an earlier log up to the step that the run is resumed from.

    Raises:
        TrainError: the file cannot be written, or holds something else than a log.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self._path = Path(path)
        self._resume = resume
        try:
            content = self._path.read_bytes() if self._path.is_file() else b""
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise TrainError(f"cannot write {path}: {error.strerror}", remedy="name another log") from error
        # A line without an end is one that the disk had no room for.
        lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
        self._earlier: list[tuple[int, int]] = []  # step and size of each line
        try:
            self._earlier = [(int(json.loads(line)["step"]), len(line)) for line in lines]
        except (ValueError, TypeError, KeyError):
            self._file.close()
            raise TrainError(f"{path} holds something else than the log of a run: name another log") from None
        self._has_earlier = bool(content)

    def __call__(self, status: Status, /) -> None:
        """Write a line.

        Raises:
            TrainError: it cannot be written.
        """
        values = {name: value for name, value in asdict(status).items() if value is not None and _is_json(value)}
        try:
            if self._has_earlier:
                # A resumed run takes the steps after its last save again.
                self._file.truncate(
                    sum(size for step, size in self._earlier if self._resume and step < status.step)
                )
                self._has_earlier = False
            self._file.write(json.dumps(values).encode() + b"\n")
        except OSError as error:
            raise TrainError(f"cannot write {self._path}: {error.strerror}; go on with --resume") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _is_json(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
