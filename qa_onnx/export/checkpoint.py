"""A checkpoint folder or hub id -> a PyTorch model, its tokenizer, and the facts that the exporter needs.

Weights are read from safetensors only, and code of the checkpoint never runs: `trust_remote_code` is off and
cannot be switched on.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.manifest import Source
from qa_onnx.errors import ExportError, MissingExtraError
from qa_onnx.export.digest import files_sha256
from qa_onnx.export.locate import Snapshot, find_checkpoint, reason
from qa_onnx.export.model import SourceModel
from qa_onnx.export.refusals import refuse_head, refuse_kind, refuse_unsafe
from qa_onnx.export.tokenizer_check import read_tokenizer, warn
from qa_onnx.machine.packages import require
from qa_onnx.session import KNOWN_INPUTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from qa_onnx.bundle.manifest import Architecture

_LOG = logging.getLogger(__name__)

_WRAPPER = re.compile(r"^(_orig_mod\.|module\.)+")


def load_checkpoint(checkpoint: str | PathLike[str], target: Path) -> tuple[Any, SourceModel]:
    """Load a checkpoint.

    Args:
        checkpoint: a folder with config.json, safetensors and a tokenizer, or the id of such a model on the hub.
        target: file that its graph will be written to.

    Returns:
        The transformers model, in float32, with eager attention and in evaluation mode, and its description. The
        inputs are those that its forward takes; torch may drop some of them in the export.

    Raises:
        MissingExtraError: torch, transformers or optimum is not installed.
        ExportError: it does not exist, is not a question answering model, or is not safe to load.
    """
    require("export", onnxruntime=True)
    folder, revision = find_checkpoint(str(checkpoint))
    name = Path(checkpoint).resolve().name
    if isinstance(checkpoint, Snapshot):
        name, revision = checkpoint.name, checkpoint.revision
    refuse_unsafe(folder)
    model, missing = load_model(folder, attention="eager")
    refuse_kind(str(folder), model.config)
    refuse_head(str(folder), model)
    if missing:
        raise ExportError(
            f"{folder} lacks the weights {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}: it is not "
            "fine-tuned for question answering (architecture "
            f"{', '.join(model.config.architectures or ['unknown'])})"
        )
    tokenizer, tokenizer_json = load_tokenizer(folder)
    return model, SourceModel(
        source=Source(name, "checkpoint", revision, weights_sha256(folder)),
        path=target,
        tokenizer_json=tokenizer_json,
        inputs=model_inputs(model),
        pad_id=pad_id(model, tokenizer),
        cls_id=cls_id(tokenizer),
        max_positions=max_positions(model, tokenizer),
        architecture=_architecture(model),
    )


def _architecture(model: Any) -> Architecture:
    """Return kind and sizes of a model, whatever its config calls them; 0 where unknown."""
    from optimum.utils import NormalizedConfigManager, NormalizedTextConfig

    config = model.config
    try:
        normalized = NormalizedConfigManager.get_normalized_config_class(config.model_type)(config)
    except KeyError:  # optimum does not know this kind of model, which probably has the common names
        normalized = NormalizedTextConfig(config)
    return {
        "model_type": config.model_type,
        "layers": int(getattr(normalized, "num_layers", 0)),
        "heads": int(getattr(normalized, "num_attention_heads", 0)),
        "hidden_size": int(getattr(normalized, "hidden_size", 0)),
        "parameters": sum(int(parameter.numel()) for parameter in model.parameters()),
    }


def load_model(folder: Path, *, attention: str | None, config: Any = None) -> tuple[Any, list[str]]:
    """Load a folder's weights into a question answering model.

    Args:
        folder: of a checkpoint.
        attention: "eager" is the form that ONNX Runtime's optimizer recognises; None: the fastest one of this
            kind of model, usually PyTorch's scaled_dot_product_attention.
        config: replaces the folder's own.

    Returns:
        The transformers model, in float32 and evaluation mode, and the names of the weights that the checkpoint
        lacks, which have random values.

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
                dtype=torch.float32,  # of a half-precision checkpoint, too
                attn_implementation=attention,
                key_mapping=_without_wrapper(folder),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # a broken config or weight file: of any class
        raise ExportError(f"transformers cannot load {folder} for question answering: {reason(error)}") from error
    unused = sorted(key for key in info["unexpected_keys"] if ".layer" in key)
    if unused:
        _LOG.warning("%s holds layers that its config does not use: %s ...", folder, unused[0])
    return model.eval(), sorted(info["missing_keys"])


def _without_wrapper(folder: Path) -> dict[str, str] | None:
    """Return the renaming of weights that were saved inside torch.compile's or DataParallel's wrapper, if any."""
    from safetensors import SafetensorError, safe_open

    for path in folder.glob("*.safetensors"):
        with (
            contextlib.suppress(SafetensorError),
            safe_open(path, "pt") as file,
        ):  # transformers names what is damaged
            match = next(filter(None, map(_WRAPPER.match, file.keys())), None)
            if match:
                _LOG.info("%s: the names of its weights begin with %s, which is taken off", folder, match[0])
                return {_WRAPPER.pattern: ""}
    return None


def load_tokenizer(folder: Path) -> tuple[Any, str]:
    """Return transformers' tokenizer of a checkpoint, and the text of its tokenizer.json.

    The text is that of the checkpoint's own file, if it has one. See tokenizer_check.py for what is warned of.

    Raises:
        MissingExtraError: it is a sentencepiece model, and sentencepiece is not installed.
        ExportError: there is none, or it gives no character offsets.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    text = read_tokenizer(folder)
    models = sorted(path.name for path in folder.glob("*.model"))
    if text is None and models and find_spec("sentencepiece") is None:
        raise MissingExtraError(
            f"{folder} has its tokenizer as {models[0]} alone, and sentencepiece is not installed",
            remedy="pip install 'qa-onnx[export]', or sentencepiece alone",
        )
    options = {"trust_remote_code": False, "local_files_only": True}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:
        if text is None:
            raise ExportError(f"{folder}: transformers cannot load the tokenizer: {reason(error)}") from error
        _LOG.warning("%s: tokenizer.json is used as it is, transformers refuses it: %s", folder, reason(error))
        with quiet():
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, **options)
    if text is None:
        text = _converted(folder, tokenizer)
    warn(str(folder), text, tokenizer)
    return tokenizer, text


def _converted(folder: Path, tokenizer: Any) -> str:
    """Return the tokenizer.json of a checkpoint that has none.

    Of a sentencepiece model, transformers 5 takes the pieces and drops rules. The converters of transformers 4,
    which are still there, take the rules too.
    """
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS

    if not tokenizer.is_fast:
        raise ExportError(
            f"{folder}: {type(tokenizer).__name__} has no fast version and so no character offsets, which locate "
            "answers in the text"
        )
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        # Without a file, transformers makes an empty tokenizer for the kind of model.
        raise ExportError(f"{folder} has no tokenizer: it has neither tokenizer.json nor a vocabulary")
    converter = SLOW_TO_FAST_CONVERTERS.get(type(tokenizer).__name__)
    source = tokenizer.vocab_files_names.get("vocab_file", "")
    if converter and source.endswith(".model") and (folder / source).is_file():
        tokenizer.vocab_file = str(folder / source)
        return str(converter(tokenizer).converted().to_str())
    return str(tokenizer.backend_tokenizer.to_str())


def model_inputs(model: Any) -> tuple[str, ...]:
    """Return the inputs that the model takes and that carry information for it."""
    taken = inspect.signature(model.forward).parameters
    segments = getattr(model.config, "type_vocab_size", 0)
    return tuple(
        name
        for name in taken
        if name in KNOWN_INPUTS and (name != "token_type_ids" or (segments and segments > 1))
    )


def max_positions(model: Any, tokenizer: Any) -> int:
    """Return the most tokens that a model reads."""
    limit = getattr(model.config, "max_position_embeddings", None) or -1
    if limit < 0:  # kinds with relative positions have no limit of their own
        limit = int(tokenizer.model_max_length)
    for name, module in model.named_modules():
        # RoBERTa and similar kinds count positions from the padding index on: 514 embeddings, 512 tokens.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            limit -= module.padding_idx + 1
    if getattr(model.config, "attention_type", "") == "block_sparse":
        # BigBird attends to all tokens in windows up to this length, in longer ones to a random choice of them.
        limit = min(limit, (5 + 2 * model.config.num_random_blocks) * model.config.block_size)
    return min(limit, int(tokenizer.model_max_length))


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256, in hexadecimal, of the digests of the weights' files."""
    return files_sha256(sorted(folder.glob("*.safetensors")))


def pad_id(model: Any, tokenizer: Any) -> int:
    """Return the token id that pads a batch; 0 if neither the tokenizer nor the config names one."""
    ids = (tokenizer.pad_token_id, model.config.pad_token_id)
    return next((value for value in ids if value is not None), 0)


def cls_id(tokenizer: Any) -> int:
    """Return the token id whose logits score "no answer"; 0 if the tokenizer names none."""
    ids = (tokenizer.cls_token_id, tokenizer.bos_token_id)
    return next((value for value in ids if value is not None), 0)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' progress bars and warnings, which would mix with our own lines."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if enabled:
            logging.enable_progress_bar()
