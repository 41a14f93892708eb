"""Base, an encoder or question answering checkpoint -> a PyTorch model to train, its tokenizer and its device.

Loaded as the exporter loads it: safetensors only, and no code of the checkpoint runs. Attention is PyTorch's
`scaled_dot_product_attention` if the architecture has it; its fast kernels need attention without dropout.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import DeviceError, InputError, TrainError
from qa_onnx.export import checkpoint, model_facts
from qa_onnx.export.opened import OpenedCheckpoint, open_checkpoint
from qa_onnx.machine import cpu
from qa_onnx.windows import Windower

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.train.settings import TrainSettings

_LOG = logging.getLogger(__name__)

_BATCH_TOKENS = {"cpu": 768, "cuda": 32_768}


@dataclass(frozen=True, slots=True)
class TorchDevice:
    """A device and how models run on it.

    Attributes:
        device: "cpu" or "cuda".
        bf16: matrix products are in bfloat16; weights, gradients and the optimizer stay in float32.
        batch_tokens: most tokens of a part of a step.
    """

    device: str
    bf16: bool
    batch_tokens: int

    def autocast(self) -> Any:
        """Return the context in which models run."""
        import torch

        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16)

    def run(self, model: Any, inputs: Mapping[str, NDArray[np.int64]]) -> Any:
        """Return the output of a model for arrays (B, T)."""
        import torch

        with self.autocast():
            return model(**{name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()})


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
    tokens = _BATCH_TOKENS[settings.device] if tokens is None else tokens
    return TorchDevice(settings.device, bf16=fast if bf16 is None else bf16, batch_tokens=tokens)


@dataclass(frozen=True, slots=True)
class Base:
    """A model to train.

    Attributes:
        name: of its folder, or its id on the hub.
        sha256: of the files of its weights.
        revision: on the hub; None: a folder.
        model: in float32.
        tokenizer: of transformers, to be saved with the model.
        tokenizer_json: the text of its tokenizer.json, which is saved as it is.
        windower: cuts windows with the same tokenizer.
        inputs: names of the model's inputs.
        pad_id: token id that pads a batch.
        positions: tokens of the longest window that the model reads.
        fresh: names of newly made weights: the head, if the checkpoint is an encoder.
        dropouts: of its config; they are written to the config of the trained model.
    """

    name: str
    sha256: str
    revision: str | None
    model: Any
    tokenizer: Any
    tokenizer_json: str
    windower: Windower
    inputs: tuple[str, ...]
    pad_id: int
    positions: int
    fresh: tuple[str, ...]
    dropouts: dict[str, float]

    def save(self, folder: Path) -> None:
        """Write a Hugging Face checkpoint: config.json, model.safetensors and the tokenizer's files."""
        for name, value in self.dropouts.items():
            setattr(self.model.config, name, value)
        with checkpoint.quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        (folder / "tokenizer.json").write_bytes(self.tokenizer_json.encode("utf-8"))
        for weights in folder.glob("*.safetensors"):  # some releases make them readable for their owner only
            shutil.copymode(folder / "config.json", weights)


def load_base(base: str, settings: TrainSettings) -> Base:
    """Load a model to train.

    Args:
        base: a folder, or an id on the hub.
        settings: `dropout`, `max_length` and, for a new head, `seed` are read.

    Raises:
        ExportError: it does not exist, or is not safe to load.
        TrainError: it lacks weights other than the head's.
        InputError: it does not read windows of `max_length` tokens.
    """
    import torch

    opened = open_checkpoint(base)
    with opened.staged() as stage:
        config, dropouts = _config(opened, stage, settings.dropout)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            model, fresh = checkpoint.load_model(opened, stage, attention=None, config=config)
        tokenizer, tokenizer_json = checkpoint.load_tokenizer(opened, stage)
    missing = [name for name in fresh if name.startswith(f"{model.base_model_prefix}.")]
    if missing:
        raise TrainError(
            f"{opened} lacks {len(missing)} weights of the encoder, such as {', '.join(missing[:3])}: it is "
            "damaged, or of another architecture than its config.json says"
        )
    if fresh:
        _LOG.info("%s is an encoder without a question answering head: a new head is trained", base)
    if settings.max_length > (limit := model_facts.max_positions(model, tokenizer)):
        raise InputError(f"max_length is {settings.max_length}; {base} reads at most {limit} tokens: lower it")
    return Base(
        name=Path(base).resolve().name if Path(base).exists() else base,
        sha256=opened.weights_sha256(),
        revision=opened.revision,
        model=model,
        tokenizer=tokenizer,
        tokenizer_json=tokenizer_json,
        windower=Windower(tokenizer_json, cls_id=model_facts.cls_id(tokenizer)),
        inputs=model_facts.model_inputs(model),
        pad_id=model_facts.pad_id(model, tokenizer),
        positions=limit,
        fresh=tuple(fresh),
        dropouts=dropouts,
    )


def _config(opened: OpenedCheckpoint, stage: Path, dropout: float) -> tuple[Any, dict[str, float]]:
    """Return a checkpoint's config with the dropout set, and the dropouts that it had by name."""
    config = checkpoint.load_config(opened, stage)
    config.num_labels = 2  # start and end, whatever the head of a classifier had
    dropouts = {
        name: value
        for name, value in config.to_dict().items()
        if "dropout" in name and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    for name in dropouts:
        setattr(config, name, 0.0 if "att" in name else dropout)
    return config, dropouts
