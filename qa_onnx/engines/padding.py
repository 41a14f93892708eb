"""Lengths of batches -> a few lengths, for engines that plan, allocate or compile for each shape anew.

A batch is padded on the right up to its bucket; the attention mask hides the padding, and the logits are cut back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_FIRST = (32, 64, 96, 128)
_STEPS = ((512, 64), (1024, 128))  # up to which length, in which steps
_LAST_STEP = 512


def length_buckets(longest: int) -> tuple[int, ...]:
    """Lengths to pad to, ascending; the last is `longest`, so no position is beyond what the model knows.

    A batch of 33 tokens or more at most doubles; one of 65 or more grows by half at most.

    Args:
        longest: tokens that the model reads at most; at least 1.
    """
    lengths = list(_FIRST)
    for limit, step in _STEPS:
        lengths += range(lengths[-1] + step, limit + 1, step)
    lengths += range(lengths[-1] + _LAST_STEP, longest + 1, _LAST_STEP)
    return (*(length for length in lengths if length < longest), longest)


def bucket_of(tokens: int, buckets: Sequence[int]) -> int:
    """The shortest bucket that holds so many tokens; where none does, the number itself."""
    return next((length for length in buckets if length >= tokens), tokens)


def pad_to(inputs: Mapping[str, NDArray[np.int64]], tokens: int, *, pad_id: int) -> dict[str, NDArray[np.int64]]:
    """Pad a batch on the right.

    Args:
        inputs: int64 (B, T) each.
        tokens: the length to reach, at least T.
        pad_id: the token id to pad input_ids with; the others get zeros.

    Returns:
        int64 (B, tokens) each, in memory order; the same arrays where they fit already.
    """
    padded = {}
    for name, array in inputs.items():
        if array.shape[1] == tokens:
            padded[name] = np.ascontiguousarray(array)
            continue
        padded[name] = np.full((array.shape[0], tokens), pad_id if name == "input_ids" else 0, np.int64)
        padded[name][:, : array.shape[1]] = array
    return padded
