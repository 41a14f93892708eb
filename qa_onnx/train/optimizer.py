"""What steps the weights: AdamW, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qa_onnx.train.settings import TrainSettings


def peak_rate(settings: TrainSettings, model: Any) -> float:
    """The highest learning rate of a run: small models bear, and need, a higher one."""
    if settings.learning_rate is not None:
        return settings.learning_rate
    return 1e-4 if int(getattr(model.config, "hidden_size", 768)) < 512 else 3e-5


def make_optimizer(model: Any, settings: TrainSettings) -> Any:
    """AdamW; weight decay is for matrices."""
    import torch

    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, fused=True)
