"""What is not a checkpoint that can be exported -> one sentence that says what it is, and what to do.

Left out: damaged files, which transformers names (checkpoint.py).
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

_STEP = re.compile(r"checkpoint-(\d+)")
_FOREIGN = ("tf_model.h5", "flax_model.msgpack", "model.ckpt.index")  # of TensorFlow and JAX
_CONVERT = (
    "from transformers import AutoModelForQuestionAnswering as M; M.from_pretrained('.').save_pretrained('.')"
)

_KERNEL = "its attention is a CUDA kernel that transformers fetches from the hub"
_PAGE = "it reads where words stand on a page, and questions come with plain text here"

# Kinds that have a question answering head in transformers, and why a graph of them would not give its answers.
_KINDS = {
    "funnel": "it pools neighbouring tokens by the length of the text, so its graph runs at one length alone",
    "layoutlmv2": _PAGE,
    "layoutlmv3": _PAGE,
    "lilt": _PAGE,
    "longformer": "all tokens attend to the question, and its graph cannot find where the question ends",
    "lxmert": "it reads a picture beside the text",
    "mra": _KERNEL,
    "reformer": "torch does not export its attention, which sorts tokens by hashes",
    "xlnet": "its segment ids and its last token are its own, and its usual head is a search with beams",
    "yoso": _KERNEL,
}


def refuse_unsafe(folder: Path) -> None:
    """Raise an ExportError if a folder is not a checkpoint, or has weights in pickles only."""
    if any(path.name != "adapter_model.safetensors" for path in folder.glob("*.safetensors")):
        if not (folder / "config.json").is_file():
            raise ExportError(f"{folder} is not a checkpoint: it has no config.json")
        return
    if (folder / "adapter_config.json").is_file():
        raise ExportError(
            f"{folder} is a LoRA adapter, which is a change of another model and not a model",
            remedy="merge the two: AutoPeftModelForQuestionAnswering.from_pretrained(FOLDER).merge_and_unload()"
            ".save_pretrained(NEW) with peft, and save the tokenizer there too",
        )
    steps = {int(match[1]): path for path in folder.iterdir() if (match := _STEP.fullmatch(path.name))}
    if steps:
        newest = steps[max(steps)]
        raise ExportError(
            f"{folder} has no weights; it is the output folder of a Trainer, with {len(steps)} checkpoints",
            remedy=f"export its newest one, {newest}, or the best one that its trainer_state.json names",
        )
    if not (folder / "config.json").is_file():
        raise ExportError(f"{folder} is not a checkpoint: it has no config.json")
    pickles = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if pickles:
        raise ExportError(
            f"{folder} has no .safetensors, only {pickles[0]}, a pickle, which may run any code when it is opened",
            remedy=f'if you trust it, convert it: cd {shlex.quote(str(folder))} && python -c "{_CONVERT}"',
        )
    foreign = [name for name in _FOREIGN if (folder / name).is_file()]
    content = f"only {foreign[0]}, which transformers 5 does not read" if foreign else "no weights"
    raise ExportError(
        f"{folder} has no .safetensors, {content}",
        remedy="save it with model.save_pretrained(folder), with the release of transformers that made it",
    )


def refuse_kind(name: str, model_type: str) -> None:
    """Raise an ExportError if a kind of model cannot work, whatever its weights.

    Args:
        name: of the checkpoint.
        model_type: as its config.json says.
    """
    why = _KINDS.get(model_type)
    if why:
        raise ExportError(f"{name} is of the kind {model_type}, which cannot be exported: {why}")


def refuse_head(name: str, model: Any) -> None:
    """Raise an ExportError if the head of a model of transformers has other than two outputs for each token."""
    head = getattr(model, "qa_outputs", None)
    count = getattr(head, "out_features", 2)
    if count != 2:
        raise ExportError(
            f"{name} has a head with {count} outputs for each token; a question answering head has 2, the logits "
            "of start and end",
            remedy="config.json has labels of another task: is it a model for question answering?",
        )
