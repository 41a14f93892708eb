"""What an export says of a checkpoint's training: "no answer", and data that it was trained on."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import InputError
from qa_onnx.data.squad import DataSet, Gold
from qa_onnx.export.trained import check_training

if TYPE_CHECKING:
    from pathlib import Path

NONE = Gold("1", "Who?", "Ida came.", (), ())
TRAINED_ON = DataSet("questions.json", "a" * 64, (NONE,))
OTHER = DataSet("other.json", "b" * 64, (NONE,))


def trained(folder: Path, **counts: int) -> Path:
    """A folder with the training.json of a run."""
    record: dict[str, Any] = {"data": [{"name": "questions.json", "sha256": "a" * 64, "questions": 12}]}
    (folder / "training.json").write_text(json.dumps({**record, "questions": {"counts": counts}}))
    return folder


def test_it_says_how_many_questions_had_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "qa_onnx"):
        for calibrate in (True, False):
            check_training(trained(tmp_path, answerable=10, unanswerable=2), OTHER, OTHER, calibrate=calibrate)
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert [record.getMessage().removeprefix(str(tmp_path)) for record in caplog.records] == [
        " was trained on 12 questions, 2 without an answer",
        " was trained on 12 questions, 2 without an answer; without --calibrate a new bundle always answers",
    ]


@pytest.mark.parametrize(
    ("counts", "evaluation", "calibration", "warning"),
    [
        ({"answerable": 10}, OTHER, OTHER, "was trained without a question without an answer"),
        ({"unanswerable": 2}, TRAINED_ON, OTHER, "was trained on questions.json: its scores on it are too high"),
    ],
)
def test_what_is_warned_of(
    counts: dict[str, int],
    evaluation: DataSet,
    calibration: DataSet,
    warning: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_training(trained(tmp_path, **counts), evaluation, calibration, calibrate=True)
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert warning in record.getMessage()


def test_nothing_is_fitted_to_data_that_it_was_trained_on(tmp_path: Path) -> None:
    folder = trained(tmp_path, unanswerable=2)
    check_training(folder, OTHER, TRAINED_ON, calibrate=False)  # ranges of int8-static
    with pytest.raises(InputError, match=r"was trained on questions\.json, .*: calibrate on the held-out\.jsonl"):
        check_training(folder, OTHER, TRAINED_ON, calibrate=True)


@pytest.mark.parametrize("content", [None, "no JSON", "[1]", '{"data": 3}', '{"data": [{"sha256": "0"}]}'])
def test_a_checkpoint_of_other_tools_is_not_checked(
    content: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        (tmp_path / "training.json").write_text(content)
    with caplog.at_level(logging.INFO, "qa_onnx"):
        check_training(tmp_path, TRAINED_ON, TRAINED_ON, calibrate=True)
        check_training("some/model", None, None, calibrate=False)
    assert not caplog.records
