"""training.json of a checkpoint -> what an export of it should know: its data, and how it learned "no answer".

Left out: checkpoints that other tools trained; they have no such file, and nothing is checked.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.errors import ExportError, InputError
from qa_onnx.export.untrusted_files import json_object, read_bytes

if TYPE_CHECKING:
    from os import PathLike

    from qa_onnx.data.squad import DataSet

_LOG = logging.getLogger(__name__)

_LIMIT = 64 << 20  # bytes


def check_training(
    checkpoint: str | PathLike[str], evaluation: DataSet | None, calibration: DataSet | None, *, calibrate: bool
) -> None:
    """Say on how many questions without an answer a checkpoint was trained, and compare its data with other data.

    Args:
        checkpoint: a folder; one without the training.json of `qa-onnx train` is not checked.
        evaluation: data to evaluate on; a warning if the checkpoint was trained on it.
        calibration: data of the calibration.
        calibrate: a temperature and a null threshold are fitted to `calibration`.

    Raises:
        InputError: they would be fitted to data that the checkpoint was trained on.
    """
    try:
        path = Path(checkpoint) / "training.json"
        record = json_object(path, read_bytes(path, _LIMIT) or b"")
        files = {file["sha256"]: file["name"] for file in record["data"]}
        counts = record["questions"]["counts"]
        answerable, unanswerable = counts.get("answerable", 0), counts.get("unanswerable", 0)
    except (OSError, ExportError, KeyError, TypeError, AttributeError):  # none, or that of another tool
        return
    note = "" if calibrate else "; without --calibrate a new bundle always answers"
    total = answerable + unanswerable
    _LOG.info("%s was trained on %s questions, %s without an answer%s", checkpoint, total, unanswerable, note)
    if not unanswerable:
        _LOG.warning(
            "%s was trained without a question without an answer: it may answer where a text holds none; train it "
            "with --negatives",
            checkpoint,
        )
    if evaluation and evaluation.sha256 in files:
        _LOG.warning("%s was trained on %s: its scores on it are too high", checkpoint, evaluation.name)
    if calibrate and calibration and calibration.sha256 in files:
        raise InputError(
            f"{checkpoint} was trained on {calibration.name}, where it is more often right than elsewhere",
            remedy="calibrate on the held-out.jsonl of the checkpoint, or on other questions",
        )
