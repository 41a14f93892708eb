"""The extractive reader of Haystack, in PyTorch: variant "fp32".

It has no longest answer, and takes one question with its documents at a time.
"""

from __future__ import annotations

import os

from rival import Order, Started, run, torch_threads


def start(order: Order) -> Started:
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    import torch
    from haystack import Document
    from haystack.utils import ComponentDevice
    from haystack_integrations.components.readers.transformers import TransformersExtractiveReader

    threads = torch_threads(order.threads)
    reader = TransformersExtractiveReader(
        model=order.checkpoint,
        device=ComponentDevice.from_str("cpu"),
        token=None,
        top_k=1,
        no_answer=False,
        model_kwargs={"dtype": torch.float32},
    )
    reader.warm_up()

    def answer(pairs: list[tuple[str, str]]) -> list[str]:
        texts = []
        for question, context in pairs:
            found = reader.run(query=question, documents=[Document(content=context)])["answers"]
            texts.append(found[0].data or "")
        return texts

    return Started(answer, {"threads": threads, "longest answer": "none"})


if __name__ == "__main__":
    run(start)
