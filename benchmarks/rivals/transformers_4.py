"""The question-answering pipeline of transformers 4, with its defaults, in PyTorch: variant "fp32"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rival import Order, old_pipeline, run, torch_threads

if TYPE_CHECKING:
    from collections.abc import Callable


def start(order: Order) -> tuple[Callable[..., list[str]], dict[str, Any]]:
    import torch
    from transformers import AutoModelForQuestionAnswering

    threads = torch_threads(order.threads)
    model = AutoModelForQuestionAnswering.from_pretrained(order.checkpoint, dtype=torch.float32)
    return old_pipeline(model, order.checkpoint), {"threads": threads}


if __name__ == "__main__":
    run(start)
