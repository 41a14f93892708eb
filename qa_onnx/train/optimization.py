"""Position in a run -> its examples, its learning rate, and the optimizer that takes the step.

All of it is a function of the settings and the position alone, so a resumed run needs nothing of it from the disk.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qa_onnx.train.base import Base
    from qa_onnx.train.settings import TrainSettings
    from qa_onnx.train.state import State


def shuffled(position: int, count: int, *, epoch_examples: int, seed: int) -> list[int]:
    """Return the indices of the next `count` examples of a run; each epoch has an order of its own."""
    places = (divmod(at, epoch_examples) for at in range(position, position + count))
    return [int(_permutation(epoch, epoch_examples, seed)[index]) for epoch, index in places]


@functools.lru_cache(maxsize=2)  # a step can reach into the next epoch
def _permutation(epoch: int, epoch_examples: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(epoch_examples)


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
    def total_examples(self) -> int:
        """Examples of a run that does not end by the clock."""
        return max(1, round(self.settings.epochs * self.epoch_examples))

    def progress(self, state: State, *, examples: float = 0.0, seconds: float = 0.0) -> float:
        """Return the completed share of the run, 0 to 1, after so many more examples and seconds."""
        if self.settings.minutes is not None:
            return min(1.0, (state.elapsed + seconds) / (60 * self.settings.minutes))
        return min(1.0, (state.position + examples) / self.total_examples)

    def rate(self, progress: float) -> float:
        """Return the share of the peak learning rate at some progress."""
        warmup = self.settings.warmup
        return progress / warmup if progress < warmup else max(0.0, (1 - progress) / (1 - warmup))


def peak_learning_rate(base: Base, settings: TrainSettings) -> float:
    """Return the highest learning rate of a run.

    By default small encoders get a higher one, and a model that answers questions already a low one: at a high one
    it forgets to give no answer.
    """
    if settings.learning_rate is not None:
        return settings.learning_rate
    if not base.fresh:
        return 2e-5
    return 1e-4 if int(getattr(base.model.config, "hidden_size", 768)) < 512 else 3e-5


def make_optimizer(model: Any, settings: TrainSettings) -> Any:
    """Create AdamW with weight decay on matrices only, not on biases and norms."""
    import torch

    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    decays = ((matrices, settings.weight_decay), (vectors, 0.0))
    groups = [{"params": parameters, "weight_decay": decay} for parameters, decay in decays]
    return torch.optim.AdamW(groups, lr=0.0, fused=True)
