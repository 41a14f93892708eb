"""EvaluationSettings: what the graphs of an export are measured and calibrated with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.data import squad
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.data.squad import DataSet


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """Data and limits for the evaluation and calibration of an export.

    Attributes:
        eval_data: a data file; every precision is evaluated on it and must reach the gate. None: no evaluation.
        eval_limit: evaluate on a random sample of this many of its questions; None: all.
        gate: per cent of fp32's F1 that a precision must reach. MLPerf uses 99 and 99.9.
        calibration_data: a data file that was not used for training: activation ranges, temperature and null
            threshold are fitted to it. Questions that are also in the evaluation are left out.
        calibration_examples: take the ranges from a random sample of this many of its questions.
        calibrate: fit a temperature, and a null threshold if at least 50 questions have an answer and 50 have
            none, to a random sample of 2,000 questions or to all if there are fewer.
        seed: of the samples and the bootstrap.

    Raises:
        InputError: a value is out of range, or one is missing that another needs.
    """

    eval_data: str | Path | None = None
    eval_limit: int | None = None
    gate: float = 99.0
    calibration_data: str | Path | None = None
    calibration_examples: int = 256
    calibrate: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.gate <= 100:
            raise InputError(f"gate is {self.gate}; it must be more than 0 and at most 100 per cent")
        if self.calibration_examples < 1:
            raise InputError(f"calibration_examples is {self.calibration_examples}; it must be at least 1")
        if self.calibrate and (self.calibration_data is None or self.eval_data is None):
            raise InputError("calibrate needs calibration_data to fit to and eval_data to check with")

    def load(self) -> tuple[DataSet | None, DataSet | None]:
        """Load the evaluation and the calibration data, which have no question in common.

        Raises:
            InputError: a file cannot be used, or all questions of the calibration are in the evaluation.
        """
        evaluation = calibration = None
        if self.eval_data is not None:
            evaluation = squad.load(self.eval_data, limit=self.eval_limit, seed=self.seed)
        if self.calibration_data is not None:
            calibration = squad.load(self.calibration_data)
            taken = {(gold.question, gold.context) for gold in evaluation.golds} if evaluation else set()
            golds = tuple(gold for gold in calibration.golds if (gold.question, gold.context) not in taken)
            if not golds:
                raise InputError(
                    f"all questions of {calibration.name} are in the evaluation as well", remedy="name other data"
                )
            calibration = dataclasses.replace(calibration, golds=golds)
        return evaluation, calibration
