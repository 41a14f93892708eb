"""The gradient of the token embedding, added up row by row.

PyTorch makes a gradient as large as the whole vocabulary for every part of a step, 47 MB for 30,000 tokens of 384
numbers, of which all but the rows of the part's own tokens are zeros. Here one is kept, and those rows are added.
"""

from __future__ import annotations

from typing import Any


def keep_gradient(model: Any) -> Any:
    """Give a model's token embedding one gradient for good.

    Returns:
        Its weight. Whoever steps the optimizer must set `weight.grad` to zero, and not to None, afterwards.
    """
    import torch

    embedding = model.get_input_embeddings()
    weight = embedding.weight
    weight.requires_grad = False  # so that PyTorch makes none
    weight.grad = torch.zeros_like(weight)

    def add_rows(_module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        if not torch.is_grad_enabled():
            return output
        ids = inputs[0].flatten()
        vectors = output.detach().requires_grad_()
        vectors.register_hook(lambda found: _add(weight.grad, ids, found))
        return vectors

    embedding.register_forward_hook(add_rows)
    return weight


def _add(gradient: Any, ids: Any, found: Any) -> None:
    gradient.index_add_(0, ids, found.reshape(len(ids), -1).to(gradient.dtype))
