"""Windows -> padded arrays, by length, under a token budget.

Padding is work thrown away, so windows of like length share a batch, which ends before its budget does where the
next window would bring more padding than a run of its own costs. Left out: running it (session.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from qa_onnx.windows import Window

# What a graph may ask for. A segment id that is silently left out looks fine on short texts and fails on
# long ones, hence exactly the declared inputs are fed and any other name is an error.
KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows that run together.

    Attributes:
        windows: B of them.
        inputs: int64 (B, T) each, under the names that the graph declares; T is the longest window's length.
    """

    windows: tuple[Window, ...]
    inputs: dict[str, NDArray[np.int64]]

    @property
    def tokens(self) -> int:
        """Tokens that the graph computes, padding included: B x T."""
        return self.inputs["input_ids"].size


def pack(
    windows: Sequence[Window],
    *,
    batch_tokens: int,
    padding: int | None = None,
    input_names: Sequence[str],
    pad_id: int,
) -> Iterator[Batch]:
    """Group windows by length, longest first, and pad each group on the right.

    Args:
        windows: in any order; those of equal length keep theirs.
        batch_tokens: B x T of a batch stays within it; a window longer than it runs alone.
        padding: tokens of padding that a batch has at most; None: any.
        input_names: what the graph declares, each of `KNOWN_INPUTS`.
        pad_id: the token id to pad with.

    Raises:
        EngineError: the graph declares an input that cannot be made from a window.
    """
    check_inputs(input_names)
    lengths = [len(window.input_ids) for window in windows]
    for group in by_length(lengths, batch_tokens=batch_tokens, padding=padding):
        rows = tuple(windows[index] for index in group)
        ids, types = [row.input_ids for row in rows], [row.token_type_ids for row in rows]
        yield Batch(rows, pad(ids, types, input_names=input_names, pad_id=pad_id))


def by_length(lengths: Sequence[int], *, batch_tokens: int, padding: int | None = None) -> Iterator[list[int]]:
    """Group rows by length, longest first.

    Args:
        lengths: of each row, in tokens; rows of equal length keep their order.
        batch_tokens: rows x longest row of a group stays within it; a row longer than that is alone.
        padding: what the shorter rows of a group lack of the longest, in all, stays within it; None: any.

    Yields:
        The indices of a group's rows.
    """
    limit = math.inf if padding is None else padding
    group: list[int] = []
    longest = missing = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        short = longest - lengths[index]
        if group and ((len(group) + 1) * longest > batch_tokens or missing + short > limit):
            yield group
            group = []
        if not group:
            longest, missing, short = lengths[index], 0, 0
        group.append(index)
        missing += short
    if group:
        yield group


def check_inputs(input_names: Sequence[str]) -> None:
    """Refuse a graph that declares inputs other than `KNOWN_INPUTS`.

    Raises:
        EngineError: it does, or it has no input_ids.
    """
    unknown = [name for name in input_names if name not in KNOWN_INPUTS]
    if unknown or "input_ids" not in input_names:
        raise EngineError(
            f"the graph's inputs are {', '.join(input_names) or 'none'}; they must be input_ids and may be "
            f"{', '.join(KNOWN_INPUTS[1:])}: export the checkpoint again with qa-onnx export"
        )


def pad(
    ids: Sequence[NDArray[np.integer]],
    types: Sequence[NDArray[np.integer]],
    *,
    input_names: Sequence[str],
    pad_id: int,
) -> dict[str, NDArray[np.int64]]:
    """Rows of different lengths -> int64 (B, T) under each name, padded on the right.

    Args:
        ids: token ids of each row, the longest row first.
        types: segment ids of each row.
        input_names: of `KNOWN_INPUTS`.
        pad_id: the token id to pad with.
    """
    shape = (len(ids), len(ids[0]))
    inputs = {name: np.zeros(shape, np.int64) for name in input_names}
    inputs["input_ids"].fill(pad_id)
    for row, (row_ids, row_types) in enumerate(zip(ids, types, strict=True)):
        length = len(row_ids)
        inputs["input_ids"][row, :length] = row_ids
        if "attention_mask" in inputs:
            inputs["attention_mask"][row, :length] = 1
        if "token_type_ids" in inputs:
            inputs["token_type_ids"][row, :length] = row_types
    return inputs
