"""Logits + targets -> the loss of BERT's paper (Devlin et al. 2019, section 4.2): -log P(start) - log P(end).

Each probability is a softmax over what inference chooses from, the context's tokens and [CLS]; question,
separators and padding have no share in it.

Beside a teacher (Hinton et al. 2015, https://arxiv.org/abs/1503.02531), a share of the loss is the cross entropy
to the probabilities that it gives to the same choices.
"""

from __future__ import annotations

from typing import Any

TEMPERATURE = 2.0  # softens the probabilities of both models: a teacher is all too sure of what it was trained on


def span_loss(start_logits: Any, end_logits: Any, spans: Any, taught: Any = None, share: float = 0.0) -> Any:
    """The sum over B windows of the mean of both terms.

    Args:
        start_logits: (B, T).
        end_logits: (B, T).
        spans: int64 (B, 5): start and end of the target, first and last token of the context, and [CLS].
        taught: (2, B, T), the teacher's logits for start and end; None: there is no teacher.
        share: of the loss, that is the teacher's.

    Returns:
        A scalar, float32.
    """
    import torch
    from torch.nn.functional import cross_entropy

    start, end, first, last, cls = spans.unbind(1)
    at = torch.arange(start_logits.shape[1], device=spans.device)
    closed = ~((at >= first[:, None]) & (at <= last[:, None]) | (at == cls[:, None]))
    lowest = torch.finfo(torch.float32).min  # finite, since a probability of 0 is multiplied by its logarithm
    total = 0.0
    for number, (logits, target) in enumerate(((start_logits, start), (end_logits, end))):
        open_logits = logits.float().masked_fill(closed, lowest)
        loss = cross_entropy(open_logits, target, reduction="sum")
        if taught is not None:
            probabilities = (taught[number].float() / TEMPERATURE).masked_fill(closed, lowest).softmax(-1)
            imitation = cross_entropy(open_logits / TEMPERATURE, probabilities, reduction="sum")
            loss = (1 - share) * loss + share * TEMPERATURE**2 * imitation
        total += loss
    return total / 2
