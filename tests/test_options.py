"""Options: every value is checked, once, with an error that names it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from qa_onnx import InputError, Options


def make(**values: Any) -> Options:
    return Options(**values)


def test_the_defaults_leave_room_for_a_context() -> None:
    assert Options().room(special_tokens=3) == 384 - 64 - 3


def test_options_are_frozen_and_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().n_best = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Options(384)  # type: ignore[call-arg]


def test_a_question_may_have_any_length() -> None:
    assert make(max_question_length=None).room(special_tokens=3) == 384 - 3


@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_align_to_words_is_true_or_false(value: object) -> None:
    with pytest.raises(InputError, match=f"align_to_words is {value!r}; it must be True or False"):
        make(align_to_words=value)


@pytest.mark.parametrize("value", [0, 0.0, -3.5, float("inf"), float("-inf"), None, "bundle"])
def test_null_threshold_takes_numbers_none_and_bundle(value: float | None) -> None:
    assert make(null_threshold=value).null_threshold == value


@pytest.mark.parametrize("value", [float("nan"), "off", True, [], b"bundle"])
def test_null_threshold_refuses_anything_else(value: object) -> None:
    with pytest.raises(InputError, match="null_threshold is"):
        make(null_threshold=value)


@pytest.mark.parametrize("doc_stride", [0, 7, 20])
def test_room_must_be_more_than_the_overlap(doc_stride: int) -> None:
    options = Options(max_length=40 + doc_stride, max_question_length=36, doc_stride=doc_stride)
    assert options.room(special_tokens=3) == doc_stride + 1
    with pytest.raises(InputError, match=f"leaves {doc_stride} tokens .* more than doc_stride {doc_stride}"):
        options.room(special_tokens=4)
