"""Where products are computed, and in which precision."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import DeviceError
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.train.settings import TrainSettings

_LOG = logging.getLogger(__name__)

_CPU_TOKENS, _GPU_TOKENS = 768, 32_768


@dataclass(frozen=True, slots=True)
class TorchDevice:
    """A device and how it computes.

    Attributes:
        device: "cpu" or "cuda".
        bf16: products are computed in bfloat16; weights, gradients and the optimizer stay in float32.
        batch_tokens: most tokens of a part of a step.
    """

    device: str
    bf16: bool
    batch_tokens: int

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the model runs."""
        import torch

        if not self.bf16:
            return contextlib.nullcontext()
        found: AbstractContextManager[Any] = torch.autocast(self.device, dtype=torch.bfloat16)
        return found

    def tensors(self, arrays: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
        """Arrays on the device."""
        import torch

        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}


def choose_place(settings: TrainSettings) -> TorchDevice:
    """The device asked for, and bfloat16 where it was asked for or has instructions for it.

    Raises:
        DeviceError: PyTorch cannot use the device.
    """
    import torch

    cuda = settings.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise DeviceError(
            f"PyTorch {torch.__version__} finds no GPU that it can use: install its CUDA build and the driver, or "
            "train with --device cpu"
        )
    fast = torch.cuda.is_bf16_supported() if cuda else cpu.has_bf16()
    if settings.bf16 and not fast:
        _LOG.warning("this %s has no instructions for bfloat16, which will be slow", "GPU" if cuda else "CPU")
    tokens = _GPU_TOKENS if cuda else _CPU_TOKENS
    return TorchDevice(
        device=settings.device,
        bf16=fast if settings.bf16 is None else settings.bf16,
        batch_tokens=tokens if settings.batch_tokens is None else settings.batch_tokens,
    )
