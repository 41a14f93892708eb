"""Buckets: few lengths, little padding, never past the longest; padding that a graph cannot see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.engines.padding import bucket_of, length_buckets, pad_to


@pytest.mark.parametrize(
    ("longest", "expected"),
    [
        (512, (32, 64, 96, 128, 192, 256, 320, 384, 448, 512)),
        (384, (32, 64, 96, 128, 192, 256, 320, 384)),
        (500, (32, 64, 96, 128, 192, 256, 320, 384, 448, 500)),
        (100, (32, 64, 96, 100)),
        (1, (1,)),
        (2048, (32, 64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1536, 2048)),
    ],
)
def test_the_plan_for_some_models(longest: int, expected: tuple[int, ...]) -> None:
    assert length_buckets(longest) == expected


@given(longest=st.integers(1, 9000), share=st.floats(0, 1))
def test_every_length_fits_with_bounded_padding_and_no_unknown_position(longest: int, share: float) -> None:
    buckets = length_buckets(longest)
    assert list(buckets) == sorted(set(buckets))
    assert buckets[-1] == longest
    tokens = max(1, round(share * longest))
    length = bucket_of(tokens, buckets)
    assert tokens <= length <= longest
    if tokens > 64:
        assert length < 1.5 * tokens
    elif tokens > 32:
        assert length < 2 * tokens


def test_a_batch_beyond_all_buckets_keeps_its_length() -> None:
    assert bucket_of(700, length_buckets(512)) == 700
    assert bucket_of(7, ()) == 7


def test_padding_is_on_the_right_with_the_pad_id_and_no_attention() -> None:
    inputs = {"input_ids": np.array([[5, 6], [7, 9]]), "attention_mask": np.array([[1, 1], [1, 0]])}
    padded = pad_to(inputs, 4, pad_id=9)
    assert padded["input_ids"].tolist() == [[5, 6, 9, 9], [7, 9, 9, 9]]
    assert padded["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert all(array.dtype == np.int64 for array in padded.values())
    assert inputs["input_ids"].tolist() == [[5, 6], [7, 9]]


def test_what_fits_is_not_copied_but_always_contiguous() -> None:
    whole = np.arange(12, dtype=np.int64).reshape(3, 4)
    assert pad_to({"input_ids": whole}, 4, pad_id=0)["input_ids"] is whole
    assert pad_to({"input_ids": whole.T}, 3, pad_id=0)["input_ids"].flags.c_contiguous
