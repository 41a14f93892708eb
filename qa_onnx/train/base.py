"""BASE, an encoder or question answering checkpoint -> a PyTorch model to train, with its tokenizer.

Loaded as the exporter loads it: safetensors alone, no code of the checkpoint. Attention is computed by PyTorch's
`scaled_dot_product_attention` where the kind of model has it; its fast kernels need attention without dropout.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ExportError, InputError, TrainError
from qa_onnx.export import checkpoint
from qa_onnx.windows import Windower

if TYPE_CHECKING:
    from qa_onnx.train.settings import TrainSettings

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Base:
    """A model to train.

    Attributes:
        name: of its folder, or its id on the hub.
        sha256: of its weights' files.
        revision: on the hub; None of a folder.
        model: in float32.
        tokenizer: transformers' own, to be saved with the model.
        windower: cuts with the same tokenizer.
        inputs: what the model takes.
        pad_id: token id that pads a batch.
        positions: tokens of the longest window that it reads.
        fresh: names of weights that the checkpoint does not have: the head, of a bare encoder.
        dropouts: those of its config, which the trained model's config shall have again.
    """

    name: str
    sha256: str
    revision: str | None
    model: Any
    tokenizer: Any
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
        for weights in folder.glob("*.safetensors"):  # written for their owner alone by some releases
            shutil.copymode(folder / "config.json", weights)


def load_base(base: str, settings: TrainSettings) -> Base:
    """Load what is trained on.

    Args:
        base: a folder, or an id on the hub.
        settings: `seed` makes a fresh head, `dropout` and `max_length` are read.

    Raises:
        ExportError: it is not there, or not safe to load.
        TrainError: it lacks weights other than the head's.
        InputError: it does not read windows of `max_length` tokens.
    """
    import torch

    folder, revision = checkpoint.find_checkpoint(base)
    checkpoint.refuse_unsafe(folder)
    config = _config(folder)
    config.num_labels = 2  # start and end, whatever the head of a classifier had
    dropouts = {
        name: value
        for name, value in config.to_dict().items()
        if "dropout" in name and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    for name in dropouts:
        setattr(config, name, 0.0 if "att" in name else settings.dropout)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model, fresh = checkpoint.load_model(folder, attention=None, config=config)
    lost = [name for name in fresh if name.startswith(f"{model.base_model_prefix}.")]
    if lost:
        raise TrainError(
            f"{folder} lacks weights of the encoder, {', '.join(lost[:3])}{' ...' if len(lost) > 3 else ''}: "
            "it is damaged, or of another architecture than its config.json says"
        )
    if fresh:
        _LOG.info("%s is an encoder without a head for question answering: a fresh one is trained", base)
    tokenizer, tokenizer_json = checkpoint.load_tokenizer(folder)
    limit = checkpoint.max_positions(model, tokenizer)
    if settings.max_length > limit:
        raise InputError(f"max_length is {settings.max_length}; {base} reads at most {limit} tokens")
    return Base(
        name=Path(base).resolve().name if Path(base).exists() else base,
        sha256=checkpoint.weights_sha256(folder),
        revision=revision,
        model=model,
        tokenizer=tokenizer,
        windower=Windower(tokenizer_json, cls_id=checkpoint.cls_id(tokenizer)),
        inputs=checkpoint.model_inputs(model),
        pad_id=checkpoint.pad_id(model, tokenizer),
        positions=limit,
        fresh=tuple(fresh),
        dropouts=dropouts,
    )


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        with checkpoint.quiet():
            return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever a broken config makes transformers raise
        raise ExportError(f"transformers cannot read {folder}/config.json: {checkpoint.reason(error)}") from error
