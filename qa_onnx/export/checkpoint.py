"""A checkpoint folder or hub id -> a PyTorch model, its tokenizer, and what the exporter must know of both.

Weights are read from safetensors alone, and no code of the checkpoint ever runs: `trust_remote_code` is off
and there is no way to switch it on.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.batches import KNOWN_INPUTS
from qa_onnx.bundle.manifest import Source
from qa_onnx.errors import ExportError
from qa_onnx.export.digest import files_sha256
from qa_onnx.export.model import SourceModel
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


def load_checkpoint(checkpoint: str | Path, target: Path) -> tuple[Any, SourceModel]:
    """Load a checkpoint.

    Args:
        checkpoint: a folder with config.json, safetensors and a tokenizer, or the id of such a one on the hub.
        target: where its graph will be written.

    Returns:
        The transformers model, in float32, with eager attention and in evaluation mode, and what is known of
        it; the inputs are those that its forward takes, of which the exporter may drop some.

    Raises:
        MissingExtraError: torch, transformers or optimum is not installed.
        ExportError: it is not there, not a question answering model, or not safe to load.
    """
    require("export", runtime=True)
    folder, revision = find_checkpoint(str(checkpoint))
    refuse_unsafe(folder)
    model, missing = load_model(folder, attention="eager")
    if missing:
        raise ExportError(
            f"{folder} lacks the weights {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}: it is not "
            "fine-tuned for question answering (architecture "
            f"{', '.join(model.config.architectures or ['unknown'])})"
        )
    config = model.config
    layers, heads, hidden_size = _sizes(config)
    tokenizer, tokenizer_json = load_tokenizer(folder)
    return model, SourceModel(
        source=Source(Path(checkpoint).resolve().name, "checkpoint", revision, weights_sha256(folder)),
        path=target,
        tokenizer_json=tokenizer_json,
        inputs=model_inputs(model),
        pad_id=pad_id(model, tokenizer),
        cls_id=cls_id(tokenizer),
        max_positions=max_positions(model, tokenizer),
        model_type=config.model_type,
        layers=layers,
        heads=heads,
        hidden_size=hidden_size,
        parameters=sum(int(parameter.numel()) for parameter in model.parameters()),
    )


def _sizes(config: Any) -> tuple[int, int, int]:
    """Layers, heads and hidden size, whatever the kind of model calls them; 0 where that is not known."""
    from optimum.utils import NormalizedConfigManager

    try:
        normalized = NormalizedConfigManager.get_normalized_config_class(config.model_type)(config)
    except KeyError:  # a kind that optimum does not know has the common names, most likely
        names = ("num_hidden_layers", "num_attention_heads", "hidden_size")
        layers, heads, hidden_size = (int(getattr(config, name, 0)) for name in names)
        return layers, heads, hidden_size
    return int(normalized.num_layers), int(normalized.num_attention_heads), int(normalized.hidden_size)


def find_checkpoint(checkpoint: str) -> tuple[Path, str | None]:
    """The checkpoint's folder on this machine, and its revision if it came from the hub.

    Raises:
        ExportError: it is neither a folder, nor does the hub give it.
    """
    check_name(checkpoint)
    path = Path(checkpoint)
    if path.is_dir():
        return path, None
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(snapshot_download(checkpoint, allow_patterns=_HUB_FILES))
    except Exception as error:  # network, authentication, no such model: each has its own class
        raise ExportError(
            f"there is no folder {checkpoint}, and the hub gives no model of that name: {reason(error)}"
        ) from error
    return snapshot, snapshot.name


def check_name(checkpoint: str) -> None:
    """Refuse a name that is neither a folder's nor can be the id of a model on the hub.

    Raises:
        ExportError: it is neither.
    """
    path = Path(checkpoint)
    if not path.is_dir() and (path.exists() or not _HUB_ID.fullmatch(checkpoint)):
        raise ExportError(f"{checkpoint} is neither a folder nor the id of a model on the hub")


def refuse_unsafe(folder: Path) -> None:
    """Refuse what is no checkpoint, or has its weights in pickles alone.

    Raises:
        ExportError: it is such a folder.
    """
    if not (folder / "config.json").is_file():
        raise ExportError(f"{folder} is no checkpoint: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        found = f"only {', '.join(pickles)}, and unpickling runs whatever it holds" if pickles else "no weights"
        raise ExportError(
            f"{folder} has no .safetensors: {found}. Where you trust it, load it with transformers and write it "
            "again with model.save_pretrained(folder)"
        )


def load_model(folder: Path, *, attention: str | None, config: Any = None) -> tuple[Any, list[str]]:
    """Load a folder's weights into a question answering model.

    Args:
        folder: that of a checkpoint.
        attention: "eager" is the form that ONNX Runtime's optimizer knows; None: the fastest that this kind of
            model has, PyTorch's scaled_dot_product_attention for most.
        config: instead of the folder's own.

    Returns:
        The transformers model, in float32 and evaluation mode, and the names of its weights that the checkpoint
        does not have, whose values are random.

    Raises:
        ExportError: it cannot be loaded.
    """
    import torch
    from optimum.exporters.tasks import TasksManager

    model_class = TasksManager.get_model_class_for_task("question-answering", framework="pt")
    try:
        with quiet():
            model, info = model_class.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,  # otherwise a half-precision checkpoint would stay so
                attn_implementation=attention,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # whatever a broken config or weight file makes transformers raise
        raise ExportError(f"transformers cannot load {folder} for question answering: {reason(error)}") from error
    unused = sorted(key for key in info["unexpected_keys"] if ".layer" in key)
    if unused:
        _LOG.warning("%s holds layers that its config does not use: %s ...", folder, unused[0])
    return model.eval(), sorted(info["missing_keys"])


def load_tokenizer(folder: Path) -> tuple[Any, str]:
    """The tokenizer of a checkpoint, and its text as a tokenizer.json.

    Raises:
        ExportError: there is none, or none that gives offsets.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise ExportError(f"{folder}: no tokenizer that transformers loads: {reason(error)}") from error
    if not tokenizer.is_fast:
        raise ExportError(
            f"{folder}: {type(tokenizer).__name__} has no fast version, so it gives no character offsets and "
            "no tokenizer.json; answers could not be located in the text"
        )
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        # Without a file of its own, transformers makes one for the kind of model, to which all text is unknown.
        raise ExportError(f"{folder} has no tokenizer: there is no tokenizer.json and no vocabulary in it")
    return tokenizer, tokenizer.backend_tokenizer.to_str()


def model_inputs(model: Any) -> tuple[str, ...]:
    """The inputs that the model's forward takes and that carry information for this model."""
    taken = inspect.signature(model.forward).parameters
    segments = getattr(model.config, "type_vocab_size", 0)
    return tuple(
        name
        for name in taken
        if name in KNOWN_INPUTS and (name != "token_type_ids" or (segments and segments > 1))
    )


def max_positions(model: Any, tokenizer: Any) -> int:
    """Tokens that a model reads at most."""
    limit = int(model.config.max_position_embeddings)
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from the padding index on: 514 embeddings, 512 tokens.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            limit -= module.padding_idx + 1
    return min(limit, int(tokenizer.model_max_length))


def weights_sha256(folder: Path) -> str:
    """SHA-256, in hexadecimal, of the digests of the weights' files."""
    return files_sha256(sorted(folder.glob("*.safetensors")))


def pad_id(model: Any, tokenizer: Any) -> int:
    """The token id that pads a batch."""
    return _first_int(tokenizer.pad_token_id, model.config.pad_token_id, default=0)


def cls_id(tokenizer: Any) -> int:
    """The token id whose logits score "no answer"."""
    return _first_int(tokenizer.cls_token_id, tokenizer.bos_token_id, default=0)


def _first_int(*values: int | None, default: int) -> int:
    return next((value for value in values if value is not None), default)


def reason(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars, which would be left half-drawn over our own lines."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
