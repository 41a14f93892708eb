"""TrainSettings -> the PyTorch device of a run, and the precision of its matrix products."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import DeviceError
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.train.settings import TrainSettings

_LOG = logging.getLogger(__name__)

_BATCH_TOKENS = {"cpu": 768, "cuda": 32_768}


@dataclass(frozen=True, slots=True)
class TorchDevice:
    """A device and how the model runs on it.

    Attributes:
        type: "cpu" or "cuda".
        bf16: matrix products are in bfloat16; weights, gradients and the optimizer stay in float32.
        batch_tokens: most tokens of a part of a step.
    """

    type: str
    bf16: bool
    batch_tokens: int

    def record(self) -> dict[str, Any]:
        """Return the JSON of training.json."""
        return {"device": self.type, "bf16": self.bf16, "batch_tokens": self.batch_tokens}

    def autocast(self) -> Any:
        """Return the context in which the model runs."""
        import torch

        return torch.autocast(self.type, dtype=torch.bfloat16, enabled=self.bf16)

    def tensors(self, arrays: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
        """Copy arrays to the device."""
        import torch

        return {name: torch.from_numpy(array).to(self.type) for name, array in arrays.items()}


def choose_device(settings: TrainSettings) -> TorchDevice:
    """Return the device of the settings, with bfloat16 by default if the device has instructions for it.

    Raises:
        DeviceError: PyTorch cannot use the device.
    """
    import torch

    cuda = settings.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise DeviceError(
            f"PyTorch {torch.__version__} finds no usable GPU",
            remedy="install its CUDA build and the driver, or train with --device cpu",
        )
    fast = torch.cuda.is_bf16_supported() if cuda else cpu.has_bf16()
    if settings.bf16 and not fast:
        _LOG.warning("this %s has no bfloat16 instructions: bf16 will be slow", "GPU" if cuda else "CPU")
    bf16, tokens = settings.bf16, settings.batch_tokens
    return TorchDevice(
        type=settings.device,
        bf16=fast if bf16 is None else bf16,
        batch_tokens=_BATCH_TOKENS[settings.device] if tokens is None else tokens,
    )
