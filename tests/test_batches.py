"""Batches: every window once, longest first, padded on the right, within the token budget."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import EngineError, Example, Options
from qa_onnx.batches import by_length, check_inputs, for_lanes, pack
from qa_onnx.session import KNOWN_INPUTS

if TYPE_CHECKING:
    from qa_onnx import Window, Windower

PAD = 77


def windows_of(windower: Windower, lengths: list[int]) -> list[Window]:
    """Windows of given lengths; `example` is their number, and no token is the padding's."""
    [cut] = windower.cut([Example("a", "b")], Options())
    return [
        replace(
            cut.windows[0],
            example=number,
            input_ids=np.arange(100, 100 + length),
            token_type_ids=np.arange(length) % 2 + 5,
        )
        for number, length in enumerate(lengths)
    ]


@given(
    lengths=st.lists(st.integers(1, 40), max_size=30),
    budget=st.integers(1, 500),
    most=st.just(math.inf) | st.integers(0, 60),
)
def test_batches_hold_every_window_once_longest_first_within_the_budget(
    windower: Windower, lengths: list[int], budget: int, most: float
) -> None:
    windows = windows_of(windower, lengths)
    found = list(pack(windows, batch_tokens=budget, padding=most, input_names=KNOWN_INPUTS, pad_id=PAD))
    order = [window for batch in found for window in batch.windows]
    assert [window.example for window in order] == sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for batch in found:
        rows, width = batch.inputs["input_ids"].shape
        assert rows == len(batch.windows)
        assert width == max(len(window.input_ids) for window in batch.windows)
        padding = int((batch.inputs["attention_mask"] == 0).sum())
        assert (rows * width <= budget and padding <= most) or rows == 1
    for batch, following in pairwise(found):  # all but the last are as full as budget and padding allow
        rows, width = batch.inputs["input_ids"].shape
        real = int(batch.inputs["attention_mask"].sum()) + following.inputs["input_ids"].shape[1]
        assert (rows + 1) * width > budget or (rows + 1) * width - real > most


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_padding_is_on_the_right_with_the_pad_id_and_mask_0(windower: Windower, lengths: list[int]) -> None:
    windows = windows_of(windower, lengths)
    [batch] = pack(windows, batch_tokens=1000, input_names=KNOWN_INPUTS, pad_id=PAD)
    assert set(batch.inputs) == set(KNOWN_INPUTS)
    for row, window in enumerate(batch.windows):
        length, padding = len(window.input_ids), max(lengths) - len(window.input_ids)
        assert batch.inputs["input_ids"][row].tolist() == window.input_ids.tolist() + [PAD] * padding
        assert batch.inputs["attention_mask"][row].tolist() == [1] * length + [0] * padding
        assert batch.inputs["token_type_ids"][row].tolist() == window.token_type_ids.tolist() + [0] * padding
    assert {array.dtype for array in batch.inputs.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize(
    "names", [("input_ids",), ("attention_mask", "input_ids"), ("input_ids", "token_type_ids"), KNOWN_INPUTS]
)
def test_only_what_the_graph_declares_is_fed(windower: Windower, names: tuple[str, ...]) -> None:
    [batch] = pack(windows_of(windower, [3, 2]), batch_tokens=99, input_names=names, pad_id=PAD)
    assert tuple(batch.inputs) == names
    check_inputs(names)


@pytest.mark.parametrize(
    "names", [(), ("attention_mask",), ("input_ids", "position_ids"), ("input_ids", "input_ids_2")]
)
def test_a_graph_with_other_inputs_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(EngineError, match=f"inputs are {', '.join(names) or 'none'}; they must be input_ids"):
        check_inputs(names)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    lanes=st.integers(2, 4),
    budget=st.integers(1, 500),
    overhead=st.integers(0, 60),
)
def test_batches_for_lanes_hold_every_row_once_and_end_no_later_than_those_of_the_largest_budget(
    lengths: list[int], lanes: int, budget: int, overhead: int
) -> None:
    found = for_lanes(lengths, lanes=lanes, batch_tokens=budget, overhead=overhead)
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    costs = [overhead + len(batch) * max(lengths[row] for row in batch) for batch in found]
    assert costs == sorted(costs, reverse=True)
    for batch, cost in zip(found, costs, strict=True):
        assert cost - overhead <= budget or len(batch) == 1
        assert cost - overhead - sum(lengths[row] for row in batch) <= overhead
    whole = [
        overhead + len(batch) * lengths[batch[0]]
        for batch in by_length(lengths, batch_tokens=budget, padding=overhead)
    ]
    assert the_end(costs, lanes) <= the_end(sorted(whole, reverse=True), lanes)


def the_end(costs: list[int], lanes: int) -> int:
    """When lanes are done that take one batch after the other."""
    ends = [0] * lanes
    for cost in costs:
        ends[ends.index(min(ends))] += cost
    return max(ends)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([40] * 5, [[0, 1, 2], [3, 4]]),  # all five fit into one batch, but then one lane would be idle
        ([40] * 8, [[0, 1, 2, 3], [4, 5, 6, 7]]),  # one run for each lane
        ([190, 60, 60, 60], [[0], [1, 2, 3]]),  # as long as the long one
        ([10] * 8, [[0, 1, 2, 3], [4, 5, 6, 7]]),  # even where they are short
        ([100, 80, 60], [[0], [1], [2]]),  # their padding would cost more than another run
    ],
)
def test_lanes_have_large_batches_as_long_as_none_is_left_idle(
    lengths: list[int], expected: list[list[int]]
) -> None:
    assert for_lanes(lengths, lanes=2, batch_tokens=200, overhead=10) == expected
