"""Options of training are checked once."""

from __future__ import annotations

from typing import Any

import pytest

from qa_onnx import InputError
from qa_onnx.train import TrainSettings

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be a number from 1e-06 to 10000.0"),
        ({"minutes": float("nan")}, "minutes is nan"),
        ({"batch_size": 0}, "batch_size is 0; it must be an integer from 1 to 65536"),
        ({"batch_tokens": True}, "batch_tokens is True"),
        ({"negatives": 1.5}, "negatives is 1.5; it must be a number from 0.0 to 1"),
        ({"patience": 0}, "patience is 0"),
        ({"epochs": None}, "epochs is None"),
        ({"device": "tpu"}, "device is 'tpu'; it must be cpu or cuda"),
        ({"max_length": 4}, "max_length is 4"),
        ({"doc_stride": 350}, "raise max_length or lower"),
    ],
)
def test_what_is_out_of_range_is_refused(knob: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainSettings(**knob).options().room(3)


def test_windows_are_those_of_a_reader_unless_asked_otherwise() -> None:
    usual, short = TrainSettings().options(), TrainSettings(max_length=96).options()
    assert (usual.max_length, usual.doc_stride, usual.max_question_length) == (384, 128, 64)
    assert (short.max_length, short.doc_stride, short.max_question_length) == (96, 32, 32)
    assert TrainSettings(doc_stride=0).options().doc_stride == 0
