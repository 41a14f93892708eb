"""Position in a run -> its examples, its learning rate, and the optimizer that takes the step.

All of it is a function of the settings and the position alone, so a resumed run needs nothing of it from the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qa_onnx.train.settings import TrainSettings
    from qa_onnx.train.state import State


class ShuffledOrder:
    """The order of the examples, `count` per epoch, shuffled anew for each."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._epoch = -1
        self._shuffled: NDArray[np.int64] = np.zeros(0, np.int64)

    def take(self, position: int, count: int) -> list[int]:
        """Return the examples `position` to `position + count`, counted from the start of the training."""
        return [self._at(position + step) for step in range(count)]

    def _at(self, position: int) -> int:
        epoch, index = divmod(position, self._count)
        if epoch != self._epoch:
            self._shuffled = np.random.default_rng((self._seed, epoch)).permutation(self._count)
            self._epoch = epoch
        return int(self._shuffled[index])


@dataclass(frozen=True, slots=True)
class TrainingSchedule:
    """The length of a run and its learning rate: linear warm-up, then linear decay to zero.

    Attributes:
        settings: `minutes` or `epochs` ends the run; `warmup` is read.
        epoch_examples: examples in an epoch.
    """

    settings: TrainSettings
    epoch_examples: int

    @property
    def total_examples(self) -> int | None:
        """Examples of the whole run; None if it ends by the clock."""
        settings = self.settings
        return None if settings.minutes is not None else max(1, round(settings.epochs * self.epoch_examples))

    def progress(self, state: State, *, examples: float = 0.0, seconds: float = 0.0) -> float:
        """Return the completed share of the run, 0 to 1, after so many more examples and seconds."""
        if self.settings.minutes is not None:
            return min(1.0, (state.elapsed + seconds) / (60 * self.settings.minutes))
        assert self.total_examples is not None
        return min(1.0, (state.position + examples) / self.total_examples)

    def rate(self, progress: float) -> float:
        """Return the share of the peak learning rate at some progress."""
        warmup = self.settings.warmup
        return progress / warmup if progress < warmup else max(0.0, (1 - progress) / (1 - warmup))


def peak_learning_rate(model: Any, settings: TrainSettings) -> float:
    """Return the highest learning rate of a run; by default small models get a higher one."""
    if settings.learning_rate is not None:
        return settings.learning_rate
    return 1e-4 if int(getattr(model.config, "hidden_size", 768)) < 512 else 3e-5


def make_optimizer(model: Any, settings: TrainSettings) -> Any:
    """Create AdamW with weight decay on matrices only, not on biases and norms."""
    import torch

    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, fused=True)
