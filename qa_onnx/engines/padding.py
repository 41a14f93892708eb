"""Batches of any length -> a few lengths, for engines that plan, allocate or compile for each shape.

A batch is padded on the right to the next bucket. The attention mask hides the padding; the logits are cut back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# Up to a length, the step from one bucket to the next.
_STEPS = ((128, 32), (512, 64), (1024, 128))
_LAST_STEP = 512


def length_buckets(longest: int) -> tuple[int, ...]:
    """Return the lengths to pad to, ascending; the last is `longest`, the last position that the model knows.

    A batch of 33 tokens or more at most doubles; one of 65 or more grows by half at most.

    Args:
        longest: maximum tokens that the model reads; at least 1.
    """
    lengths = [0]
    for limit, step in (*_STEPS, (longest, _LAST_STEP)):
        lengths += range(lengths[-1] + step, limit + 1, step)
    return (*(length for length in lengths[1:] if length < longest), longest)


def bucket_of(tokens: int, buckets: Sequence[int]) -> int:
    """Return the shortest bucket that holds so many tokens; if none does, the number itself."""
    return next((length for length in buckets if length >= tokens), tokens)


def pad_to(inputs: Mapping[str, NDArray[np.int64]], tokens: int, *, pad_id: int) -> dict[str, NDArray[np.int64]]:
    """Pad a batch on the right.

    Args:
        inputs: int64 (B, T) each.
        tokens: the length to reach, at least T.
        pad_id: the token id to pad input_ids with; the others get zeros.

    Returns:
        int64 (B, tokens) each, C-contiguous; the same arrays if nothing is to be done.
    """
    padded = {}
    for name, array in inputs.items():
        if array.shape[1] == tokens:
            padded[name] = np.ascontiguousarray(array)
            continue
        padded[name] = np.full((array.shape[0], tokens), pad_id if name == "input_ids" else 0, np.int64)
        padded[name][:, : array.shape[1]] = array
    return padded
