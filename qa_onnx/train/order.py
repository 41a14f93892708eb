"""Features -> the examples of each step, and the parts that a step is computed in.

A step's examples are drawn at random, so that no step has long contexts alone; only inside of it are windows
grouped by length, into parts under a token budget, whose gradients add up to the step's (`batches.by_length`). So
there is little padding and bounded memory, and no less randomness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Order:
    """The order of all examples, epoch after epoch: a function of the seed and of the position alone.

    Args:
        count: examples in an epoch, at least one.
        seed: of the order.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._epoch = -1
        self._shuffled: NDArray[np.int64] = np.zeros(0, np.int64)

    def take(self, position: int, count: int) -> list[int]:
        """The examples `position` to `position + count` since the start of the training."""
        return [self._at(position + step) for step in range(count)]

    def _at(self, position: int) -> int:
        epoch, index = divmod(position, self._count)
        if epoch != self._epoch:
            self._shuffled = np.random.default_rng((self._seed, epoch)).permutation(self._count)
            self._epoch = epoch
        return int(self._shuffled[index])
