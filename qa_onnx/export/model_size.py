"""Sizes in config.json against the shapes of the stored weights, before a model of those sizes is built.

A model is built from its config.json. One that says `num_hidden_layers` 100,000 beside the weights of 6 layers
would take hours or all memory to build, and then be refused for the weights that it lacks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ExportError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qa_onnx.export.safetensors_header import StoredWeights

# Sizes that are a dimension of some weight, by the names that kinds of models give them.
_DIMENSIONS = re.compile(
    r"vocab_size|hidden_size|dim|d_model|n_embd|emb_dim|embedding_size|intermediate_size|hidden_dim"
)
_LAYERS = re.compile(r"num_hidden_layers|n_layers?|num_layers|num_hidden_groups")
_SHARED_LAYERS = {"albert"}  # one stored layer is run several times
_MOST_SHARED = 256
_POSITIVE = re.compile(r"num_attention_heads|n_heads?|num_labels|max_position_embeddings|n_positions")
_SMALL = {"num_labels": 4096, "num_attention_heads": 4096, "n_heads": 4096, "n_head": 4096}
_NOT_SIZES = re.compile(r"\w*_ids?|\w*theta|\w*base")
_LARGEST = 1 << 20  # of a number that is no dimension of a weight, such as positions that are computed
_EPSILON = re.compile(r"\w*(eps|epsilon)")
_LAYER_NUMBER = re.compile(r"\.(\d{1,9})\.")

_OTHER = "the two are of different models, or one is damaged"
_SLACK = 1 << 24  # numbers that a model may have beyond the stored ones: a new head, positions that are computed


def check_sizes(path: Path, config: Mapping[str, Any], weights: StoredWeights) -> None:
    """Compare the sizes in a config.json with the stored weights.

    Args:
        path: of the file, for messages.
        config: its content.
        weights: what the headers of the weights say.

    Raises:
        ExportError: a size is no positive whole number, or is not that of the weights.
    """
    sizes = {size for shape in weights.shapes.values() for size in shape}
    numbers = [match[1] for match in map(_LAYER_NUMBER.search, weights.shapes) if match]
    layers = max(map(int, numbers), default=-1) + 1
    shared = config.get("model_type") in _SHARED_LAYERS
    for name, value in _numbers(config):
        if _EPSILON.fullmatch(name) and not 0 <= value < 1:
            raise ExportError(f"{path} has {name} {quoted(value)}; it must be from 0 to 1")
        dimension, count = _DIMENSIONS.fullmatch(name), _LAYERS.fullmatch(name)
        if (dimension or count or _POSITIVE.fullmatch(name)) and (type(value) is not int or value < 1):
            raise ExportError(f"{path} has {name} {quoted(value)}; it must be a whole number from 1 on")
        most = _MOST_SHARED if shared and name != "num_hidden_groups" else layers
        if count and value > most:
            raise ExportError(f"{path} has {name} {quoted(value)}, and the weights are of {most} layers: {_OTHER}")
        if dimension and value not in sizes:
            raise ExportError(f"{path} has {name} {quoted(value)}, and no weight has that size: {_OTHER}")
        limit = _SMALL.get(name, _LARGEST)
        if abs(value) > limit and not _NOT_SIZES.fullmatch(name) and value not in sizes:
            raise ExportError(f"{path} has {name} {quoted(value)}; the limit is {limit}, or a size of the weights")


def _numbers(config: Mapping[str, Any], depth: int = 0) -> list[tuple[str, Any]]:
    """Return the numbers of an object, and of the objects in it, with their names."""
    found = []
    for name, value in config.items():
        if isinstance(value, dict) and name not in {"id2label", "label2id"}:
            found += _numbers(value, depth + 1)
        elif isinstance(value, list):
            found += [(f"{name}[]", one) for one in value if type(one) in (int, float)]
        elif type(value) in (int, float):
            found.append((name, value))
    return found


def check_built_size(path: Path, model: Any, weights: StoredWeights) -> None:
    """Compare a model without memory for its weights (on PyTorch's device "meta") with the stored weights.

    Raises:
        ExportError: it would have far more weights than are stored.
    """
    built = sum(one.numel() for one in (*model.parameters(), *model.buffers()))
    stored = weights.count()
    if built > 2 * stored + _SLACK:
        raise ExportError(f"{path} describes a model of {built} numbers, and the weights hold {stored}")
