"""Every option of an export, in two frozen dataclasses that are checked once.

Left out: the checkpoint and the folder of the bundle, see `export`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # `bounds_of` reads the annotations
from typing import TYPE_CHECKING, Annotated

from qa_onnx.data import squad
from qa_onnx.engines.names import PRECISIONS, missing_instructions
from qa_onnx.errors import ExportError, InputError, quoted
from qa_onnx.export.graph import DEFAULT_OPSET
from qa_onnx.machine.files import check_path
from qa_onnx.machine.packages import require
from qa_onnx.options import BOUNDS, Bounds, bounds_of, check_fields, check_type, is_number

if TYPE_CHECKING:
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
        InputError: a value is out of range or of a wrong type, or one is missing that another needs.
    """

    eval_data: str | Path | None = None
    eval_limit: Annotated[int | None, Bounds(1, 1 << 24)] = None
    gate: float = 99.0
    calibration_data: str | Path | None = None
    calibration_examples: Annotated[int, Bounds(1, 1 << 24)] = 256
    calibrate: bool = False
    seed: Annotated[int, Bounds(0, 1 << 32)] = 0

    def __post_init__(self) -> None:
        check_fields(self, EXPORT_BOUNDS)
        if not is_number(self.gate) or not 0 < self.gate <= 100:
            raise InputError(f"gate is {quoted(self.gate)}; it must be a number above 0, and at most 100 per cent")
        check_type("calibrate", self.calibrate, bool, "True or False")
        for name in ("eval_data", "calibration_data"):
            if getattr(self, name) is not None:
                check_path(name, getattr(self, name))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """The options of `export`, which explains them; `evaluation` is never None here.

    Raises:
        InputError: a value is out of range or of a wrong type, or two contradict each other.
        ExportError: this CPU lacks the bf16 of a precision.
        MissingExtraError: OpenVINO is not installed, which runs such a precision.
    """

    precisions: Sequence[str]
    max_length: Annotated[int | None, Bounds(32, BOUNDS["max_length"].high)] = None
    opset: Annotated[int, Bounds(14, 18)] = DEFAULT_OPSET
    fusion: bool = True
    require_fusion: bool = False
    replace: bool = False
    evaluation: EvaluationSettings

    def __post_init__(self) -> None:
        check_fields(self, EXPORT_BOUNDS)
        check_type("evaluation", self.evaluation, EvaluationSettings, "of type EvaluationSettings, or None")
        for name in ("fusion", "require_fusion", "replace"):
            check_type(name, getattr(self, name), bool, "True or False")
        if self.require_fusion and not self.fusion:
            raise InputError("require_fusion contradicts fusion=False")
        if isinstance(self.precisions, str) or not isinstance(self.precisions, Sequence):
            raise InputError(f"precisions is {quoted(self.precisions)}; it must be a list of names")
        if not self.precisions or not all(
            isinstance(name, str) and name in PRECISIONS for name in self.precisions
        ):
            names = ", ".join(name if isinstance(name, str) else quoted(name) for name in self.precisions)
            raise InputError(f"precisions are {names or 'none'}; choose from {', '.join(PRECISIONS)}")
        for name in self.precisions:
            self._check_precision(name)
        if any(PRECISIONS[name].bf16 for name in self.precisions):
            require("openvino")

    def _check_precision(self, name: str) -> None:
        """Refuse a precision that cannot be made here, or lacks its data."""
        reason = missing_instructions(name)
        if reason:
            raise ExportError(
                f"{name} cannot be exported here, since {reason} and an export measures what it writes",
                remedy=f"export {PRECISIONS[name].graph}, or do it on a CPU with bf16",
            )
        if PRECISIONS[name].fixed_ranges and self.evaluation.calibration_data is None:
            raise InputError(
                f"{name} fixes the ranges of activations", remedy="name calibration data to take them from"
            )


# Of fields of both classes; `gate` is not here, as its range is open.
EXPORT_BOUNDS = bounds_of(EvaluationSettings) | bounds_of(ExportSettings)
