"""Logits + targets -> the loss of BERT's paper (Devlin et al. 2019, section 4.2): -log P(start) - log P(end).

Each probability is a softmax over what inference chooses from, the context's tokens and [CLS]; question,
separators and padding have no share in it.
"""

from __future__ import annotations

from typing import Any


def span_loss(start_logits: Any, end_logits: Any, spans: Any) -> Any:
    """The sum over B windows of the mean of both terms.

    Args:
        start_logits: (B, T).
        end_logits: (B, T).
        spans: int64 (B, 5): start and end of the target, first and last token of the context, and [CLS].

    Returns:
        A scalar, float32.
    """
    import torch
    from torch.nn.functional import cross_entropy

    start, end, first, last, cls = spans.unbind(1)
    at = torch.arange(start_logits.shape[1], device=spans.device)
    open_to_choice = (at >= first[:, None]) & (at <= last[:, None]) | (at == cls[:, None])
    total = 0.0
    for logits, target in ((start_logits, start), (end_logits, end)):
        total += cross_entropy(logits.float().masked_fill(~open_to_choice, -torch.inf), target, reduction="sum")
    return total / 2
