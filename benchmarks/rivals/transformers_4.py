"""The question-answering pipeline of transformers 4, with its defaults, in PyTorch: variant "fp32"."""

from __future__ import annotations

from rival import Order, Started, old_pipeline, run, torch_threads


def start(order: Order) -> Started:
    import torch
    from transformers import AutoModelForQuestionAnswering

    threads = torch_threads(order.threads)
    model = AutoModelForQuestionAnswering.from_pretrained(order.checkpoint, dtype=torch.float32)
    return Started(old_pipeline(model, order.checkpoint), {"threads": threads})


if __name__ == "__main__":
    run(start)
