"""Logits + targets -> the loss of BERT's paper (Devlin et al. 2019, section 4.2): -log P(start) - log P(end).

Each probability is a softmax over the tokens that inference chooses from, those of the context and [CLS];
question, separators and padding are masked.

With a teacher (Hinton et al. 2015, https://arxiv.org/abs/1503.02531), a share of the loss is the cross entropy to
the teacher's probabilities of the same tokens.
"""

from __future__ import annotations

from typing import Any

TEMPERATURE = 2.0  # softens the probabilities of both models: a teacher is overconfident on its own training data


def span_loss(
    start_logits: Any, end_logits: Any, spans: Any, teacher_logits: Any = None, share: float = 0.0
) -> Any:
    """Return the sum over B windows of the mean of the losses of start and end.

    Args:
        start_logits: (B, T).
        end_logits: (B, T).
        spans: int64 (B, 5): start and end of the target, first and last token of the context, and [CLS].
        teacher_logits: (2, B, T), for start and end; None: there is no teacher.
        share: of the loss that compares with the teacher.

    Returns:
        A scalar, float32.
    """
    import torch
    from torch.nn.functional import cross_entropy

    start, end, first, last, cls = spans.unbind(1)
    at = torch.arange(start_logits.shape[1], device=spans.device)
    masked = ~((at >= first[:, None]) & (at <= last[:, None]) | (at == cls[:, None]))  # (B, T)
    lowest = torch.finfo(torch.float32).min  # finite, since a probability of 0 is multiplied by its logarithm
    total = 0.0
    for number, (logits, target) in enumerate(((start_logits, start), (end_logits, end))):
        choices = logits.float().masked_fill(masked, lowest)
        loss = cross_entropy(choices, target, reduction="sum")
        if teacher_logits is not None:
            teacher = (teacher_logits[number].float() / TEMPERATURE).masked_fill(masked, lowest).softmax(-1)
            distillation = cross_entropy(choices / TEMPERATURE, teacher, reduction="sum")
            loss = (1 - share) * loss + share * TEMPERATURE**2 * distillation
        total += loss
    return total / 2
