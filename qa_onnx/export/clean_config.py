"""config.json and the tokenizer's JSON files -> what of them transformers may see.

Values of these files can make transformers import code, fetch a kernel or a model, or open a file. What they may
say is decided here by kind, not by the attacks on one release:

    config.json              no private name, no name of a file, place, kernel or implementation, and no text that
                             could be a path or an id on the hub, at any depth
    tokenizer_config.json    the names below alone
    special_tokens_map.json  special tokens alone

Null values, notes such as `_name_or_path`, and names of implementations that PyTorch itself has are removed
silently; of anything else that is removed a warning tells. Left out: sizes (model_size.py).
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ExportError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LOG = logging.getLogger(__name__)

# Names in config.json, at any depth, which make transformers load something, or replace a part of its classes.
_LOADS = re.compile(
    r"auto_map|trust_remote_code|custom_\w+|\w*_implementation|configuration_files|transformers_weights"
    r"|\w*quant\w*_config|compression_config|fusion_config|distributed_config|device_map"
    r"|(use_)?(\w+_)?kernels?(_config)?|\w*adapter\w*|peft\w*|gguf\w*|\w*backbone\w*|base_model\w*|per_layer_config"
    r"|(\w+_)?(files?|filename|path|paths|dir|directory|folder|repo|repo_id|repository|revision|url|uri|endpoint)"
    r"|attribute_map|sub_configs\w*|extra_files|keys_to_ignore\w*"
)
_CONFIG_NOTES = {"name_or_path", "dtype", "torch_dtype", "transformers_version", "auto_class", "commit_hash"}
_BUILT_IN = {"eager", "sdpa"}  # attention of PyTorch itself
_LABELS = {"id2label", "label2id"}  # texts that are never opened
_WORD = re.compile(r"[\w .,+()-]{0,100}")  # no slash, colon or backslash
_MODEL_TYPE = re.compile(r"[A-Za-z][\w-]{0,60}", re.ASCII)

_TOKENIZER = re.compile(
    r"\w+_token|tokenizer_class|model_max_length|max_length|model_input_names|additional_special_tokens"
    r"|extra_special_tokens|added_tokens_decoder|do_\w+|add_\w+|never_split|strip_accents|tokenize_chinese_chars"
    r"|lowercase|remove_space|keep_accents|keep_newlines|split_by_punct|split_special_tokens|trim_offsets|vocab_type"
    r"|clean_up_tokenization_spaces|clean_text|spaces_between_special_tokens|padding_side|truncation_side"
    r"|truncation_strategy|truncation|stride|padding|pad_to_multiple_of|pad_token_type_id|unk_id|errors|legacy"
    r"|normalization|normalize|use_fast|model_specific_special_tokens|cls_token_\w+|sep_token_\w+|pad_token_\w+"
)
_TOKENIZER_NOTES = re.compile(
    r"_?name_or_path|special_tokens_map_file|chat_template|processor_class|transformers_version|_commit_hash|backend"
    r"|is_local|local_files_only"
)
_SPECIAL = re.compile(r"\w+_token|additional_special_tokens|extra_special_tokens")
_CLASS = re.compile(r"[A-Za-z]\w{0,80}", re.ASCII)
_MOST_IDS = 1 << 24  # of a vocabulary; transformers makes a token for each id below the largest
_LONGEST = 1e31  # transformers writes 10 ** 30 for a tokenizer without a limit


def clean_model_config(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a config.json without what could make transformers load something.

    Raises:
        ExportError: it does not name its kind of model, or its classes are no names.
    """
    kind = content.get("model_type")
    if not isinstance(kind, str) or not _MODEL_TYPE.fullmatch(kind):
        raise ExportError(f"{path} has the model_type {quoted(kind)}; it must name a kind of model, such as bert")
    classes = content.get("architectures") or []
    if not isinstance(classes, list) or not all(isinstance(one, str) and _CLASS.fullmatch(one) for one in classes):
        raise ExportError(f"{path} has the architectures {quoted(classes)}; it must be a list of names of classes")
    dropped: list[str] = []
    cleaned = _cleaned(content, "", dropped)
    _tell(path, dropped, "as it could make transformers load code or files")
    return cleaned


def _cleaned(content: Mapping[str, Any], where: str, dropped: list[str]) -> dict[str, Any]:
    """Return an object of a config.json without what is not allowed; add the names of that to `dropped`."""
    result = {}
    for name, value in content.items():
        if name.removeprefix("_") in _CONFIG_NOTES or value is None:
            continue
        if name.startswith("_") or _LOADS.fullmatch(name) or (name not in _LABELS and _has_path(value)):
            if not (isinstance(value, (bool, str)) and value in (False, True, *_BUILT_IN) and "impl" in name):
                dropped.append(where + name)
        elif isinstance(value, dict) and name not in _LABELS:
            result[name] = _cleaned(value, f"{where}{name}.", dropped)
        else:
            result[name] = value
    return result


def _has_path(value: object) -> bool:
    """Tell whether a value is, or lists, a text that could be a path, an address or an id on the hub."""
    if isinstance(value, list):
        return any(isinstance(one, dict) or _has_path(one) for one in value)
    return isinstance(value, str) and (".." in value or not _WORD.fullmatch(value))


def clean_tokenizer_config(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a tokenizer_config.json without what could make transformers load something.

    Raises:
        ExportError: a length or an id is not possible.
    """
    result, dropped = {}, []
    for name, value in content.items():
        if name == "tokenizer_class" and not (isinstance(value, str) and _CLASS.fullmatch(value)):
            dropped.append(name)
        elif _TOKENIZER.fullmatch(name):
            result[name] = value
        elif value is not None and not _TOKENIZER_NOTES.fullmatch(name):
            dropped.append(name)
    longest = result.get("model_max_length")
    if longest is not None and (type(longest) not in (int, float) or not 1 <= longest <= _LONGEST):
        raise ExportError(f"{path} has the model_max_length {quoted(longest)}; it must be a number of tokens")
    added = result.get("added_tokens_decoder", {})
    if not isinstance(added, dict) or not all(one.isdecimal() and _is_id(int(one)) for one in added):
        raise ExportError(f"{path} has an added_tokens_decoder with ids that are not numbers below {_MOST_IDS}")
    _tell(path, dropped, "as only options of a tokenizer are used")
    return result


def clean_special_tokens(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a special_tokens_map.json with special tokens alone."""
    _tell(path, [name for name in content if not _SPECIAL.fullmatch(name)], "as it is no special token")
    return {name: value for name, value in content.items() if _SPECIAL.fullmatch(name)}


def check_added_tokens(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of an added_tokens.json or vocab.json, texts and their ids.

    Raises:
        ExportError: it is something else.
    """
    wrong = next((text for text, number in content.items() if not _is_id(number)), None)
    if wrong is not None:
        raise ExportError(
            f"{path} gives {quoted(wrong)} the id {quoted(content[wrong])}; ids are below {_MOST_IDS}"
        )
    return dict(content)


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST_IDS


def _tell(path: Path, names: list[str], why: str) -> None:
    """Log what of a file is not used."""
    if names:
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        _LOG.warning("%s: %s%s not used, %s", path, ", ".join(map(quoted, names[:8])), more, why)
