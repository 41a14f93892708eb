"""A model of transformers and its tokenizer -> the facts that a bundle's manifest holds."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from typing import TYPE_CHECKING, Any

from qa_onnx.session import KNOWN_INPUTS

if TYPE_CHECKING:
    from qa_onnx.bundle.manifest import Architecture

# Of a config: what changes no answer of a question answering model.
_NO_ANSWER = re.compile(
    r"_\w+|architectures|dtype|torch_dtype|transformers_version|id2label|label2id|num_labels|problem_type|use_cache"
    r"|\w*dropout\w*|initializer_\w+|return_dict|output_\w+|gradient_checkpointing|tokenizer_class"
)


def architecture(model: Any) -> Architecture:
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


def source_sha256(weights: str, config: Any) -> str:
    """Return the SHA-256, in hexadecimal, of weights and of what their config says other than by default.

    Notes are left out, and what only training uses: they change no answer.
    """
    defaults, values = type(config)().to_dict(), config.to_dict()
    facts = {
        name: value
        for name, value in values.items()
        if name in defaults and defaults[name] != value and not _NO_ANSWER.fullmatch(name)
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(f"{weights} {text}".encode()).hexdigest()


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


def pad_id(model: Any, tokenizer: Any) -> int:
    """Return the token id that pads a batch; 0 if neither the tokenizer nor the config names one."""
    ids = (tokenizer.pad_token_id, model.config.pad_token_id)
    return next((value for value in ids if value is not None), 0)


def cls_id(tokenizer: Any) -> int:
    """Return the token id whose logits score "no answer"; 0 if the tokenizer names none."""
    ids = (tokenizer.cls_token_id, tokenizer.bos_token_id)
    return next((value for value in ids if value is not None), 0)
