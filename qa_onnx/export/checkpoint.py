"""A checkpoint folder or hub id -> a PyTorch model, its tokenizer, and the facts that the exporter needs.

Weights are read from safetensors only, and code of the checkpoint never runs: `trust_remote_code` is off and
cannot be switched on. transformers sees the checked files of opened.py, in the folder that
`OpenedCheckpoint.staged` makes, and no network is asked.
"""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.manifest import Source
from qa_onnx.errors import ExportError
from qa_onnx.export.locate import reason
from qa_onnx.export.model import SourceModel, make_windower
from qa_onnx.export.model_facts import (
    architecture,
    cls_id,
    max_positions,
    model_inputs,
    pad_id,
    source_sha256,
)
from qa_onnx.export.model_size import check_built_size
from qa_onnx.export.refusals import refuse_head
from qa_onnx.export.tokenizer_check import TOKENIZER, read_tokenizer, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx.export.opened import OpenedCheckpoint

_LOG = logging.getLogger(__name__)

_WRAPPER = re.compile(r"^(_orig_mod\.|module\.)+")


def load_checkpoint(opened: OpenedCheckpoint, stage: Path, target: Path) -> tuple[Any, SourceModel]:
    """Load a checkpoint.

    Args:
        opened: the checkpoint.
        stage: its folder for transformers.
        target: file that its graph will be written to.

    Returns:
        The transformers model, in float32, with eager attention and in evaluation mode, and its description. The
        inputs are those that its forward takes; torch may drop some of them in the export.

    Raises:
        ExportError: it is not a question answering model, or transformers cannot load it.
    """
    model, missing = load_model(opened, stage, attention="eager")
    refuse_head(str(opened), model)
    if missing:
        raise ExportError(
            f"{opened} lacks the weights {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}: it is not "
            "fine-tuned for question answering (architecture "
            f"{', '.join(model.config.architectures or ['unknown'])})"
        )
    tokenizer, tokenizer_json = load_tokenizer(opened, stage)
    weights = opened.weights_sha256()
    return model, SourceModel(
        source=Source(opened.name, "checkpoint", opened.revision, source_sha256(weights, model.config)),
        path=target,
        tokenizer_json=tokenizer_json,
        windower=make_windower(opened.name, tokenizer_json, cls_id(tokenizer)),
        inputs=model_inputs(model),
        pad_id=pad_id(model, tokenizer),
        cls_id=cls_id(tokenizer),
        max_positions=max_positions(model, tokenizer),
        architecture=architecture(model),
        weights_sha256=weights,
    )


def load_config(opened: OpenedCheckpoint, stage: Path) -> Any:
    """Return transformers' configuration of a checkpoint, read in its folder for transformers.

    Raises:
        ExportError: transformers cannot read it.
    """
    from transformers import AutoConfig

    with _loading(opened, stage, "read config.json of"):
        return AutoConfig.from_pretrained(stage, trust_remote_code=False, local_files_only=True)


def load_model(
    opened: OpenedCheckpoint, stage: Path, *, attention: str | None, config: Any = None
) -> tuple[Any, list[str]]:
    """Load a checkpoint's weights into a question answering model.

    Args:
        opened: the checkpoint.
        stage: its folder for transformers.
        attention: "eager" is the form that ONNX Runtime's optimizer recognises; None: the fastest one of this
            kind of model, usually PyTorch's scaled_dot_product_attention.
        config: replaces the checkpoint's own.

    Returns:
        The transformers model, in float32 and evaluation mode, and the names of the weights that the checkpoint
        lacks, which have random values.

    Raises:
        ExportError: it cannot be loaded.
    """
    import torch
    from optimum.exporters.tasks import TasksManager

    model_class = TasksManager.get_model_class_for_task("question-answering", framework="pt")
    config = load_config(opened, stage) if config is None else config
    with _loading(opened, stage, "load", " for question answering"):
        with torch.device("meta"):
            built = model_class.from_config(config, trust_remote_code=False)
        check_built_size(opened.folder / "config.json", built, opened.weights)
        model, info = model_class.from_pretrained(
            stage,
            config=config,
            dtype=torch.float32,  # of a half-precision checkpoint, too
            attn_implementation=attention,
            key_mapping=_without_wrapper(opened),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    model.name_or_path = model.config.name_or_path = str(opened)
    unused = sorted(key for key in info["unexpected_keys"] if ".layer" in key)
    if unused:
        _LOG.warning("%s holds layers that its config does not use: %s ...", opened, unused[0])
    return model.eval(), sorted(info["missing_keys"])


@contextlib.contextmanager
def _loading(opened: OpenedCheckpoint, stage: Path, what: str, why: str = "") -> Iterator[None]:
    """Translate what transformers raises.

    Args:
        opened: the checkpoint.
        stage: its folder for transformers, which messages do not name.
        what: is done with it, for the message.
        why: it is done, for the message.
    """
    try:
        with quiet():
            yield
    except ExportError:
        raise
    except Exception as error:  # a broken config or weight file: of any class
        text = reason(error).replace(str(stage), str(opened))
        raise ExportError(f"transformers cannot {what} {opened}{why}: {text}") from error


def _without_wrapper(opened: OpenedCheckpoint) -> dict[str, str] | None:
    """Return the renaming of weights that were saved inside torch.compile's or DataParallel's wrapper, if any."""
    match = next(filter(None, map(_WRAPPER.match, opened.weights.shapes)), None)
    if match is None:
        return None
    _LOG.info("%s: the names of its weights begin with %s, which is taken off", opened, match[0])
    return {_WRAPPER.pattern: ""}


def load_tokenizer(opened: OpenedCheckpoint, stage: Path) -> tuple[Any, str]:
    """Return transformers' tokenizer of a checkpoint, and the text of its tokenizer.json.

    The text is that of the checkpoint's own file, if it has one. See tokenizer_check.py for what is warned of.

    Args:
        opened: the checkpoint, or its tokenizer alone.
        stage: its folder for transformers.

    Raises:
        ExportError: there is none, or it gives no character offsets.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    path, data = opened.folder / TOKENIZER, opened.texts.get(TOKENIZER)
    own = None if data is None else read_tokenizer(path, data)
    options = {"trust_remote_code": False, "local_files_only": True}
    with quiet():
        try:
            theirs = AutoTokenizer.from_pretrained(stage, **options)
        except Exception as error:
            why = reason(error).replace(str(stage), str(opened))
            if own is None:
                raise ExportError(f"{opened}: transformers cannot load the tokenizer: {why}") from error
            _LOG.warning("%s: tokenizer.json is used as it is, transformers refuses it: %s", opened, why)
            theirs = PreTrainedTokenizerFast.from_pretrained(stage, **options)
        text, tokenizer = own or read_tokenizer(path, _converted(opened, stage, theirs).encode())
    _rename(theirs, opened.folder)
    warn(str(opened), text, tokenizer, theirs)
    return theirs, text


def _rename(tokenizer: Any, folder: Path) -> None:
    """Let a tokenizer name the files of the checkpoint's own folder, which it copies when it is saved."""
    tokenizer.name_or_path = str(folder)
    for holder in (tokenizer.__dict__, tokenizer.init_kwargs):
        for name, value in holder.items():
            if name == "name_or_path":
                holder[name] = str(folder)
            elif name.endswith("_file") and isinstance(value, str):
                holder[name] = str(folder / Path(value).name)


def _converted(opened: OpenedCheckpoint, folder: Path, tokenizer: Any) -> str:
    """Return the tokenizer.json of a checkpoint that has none.

    Of a sentencepiece model, transformers 5 takes the pieces and drops rules. The converters of transformers 4,
    which are still there, take the rules too.
    """
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS

    if not tokenizer.is_fast:
        raise ExportError(
            f"{opened}: {type(tokenizer).__name__} has no fast version and so no character offsets, which locate "
            "answers in the text"
        )
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        # Without a file, transformers makes an empty tokenizer for the kind of model.
        raise ExportError(f"{opened} has no tokenizer: it has neither tokenizer.json nor a vocabulary")
    converter = SLOW_TO_FAST_CONVERTERS.get(type(tokenizer).__name__)
    source = tokenizer.vocab_files_names.get("vocab_file", "")
    if converter and source.endswith(".model") and source in opened.texts:
        tokenizer.vocab_file = str(folder / source)
        return str(converter(tokenizer).converted().to_str())
    return str(tokenizer.backend_tokenizer.to_str())


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
