"""CTranslate2's encoder, converted from the checkpoint, with the QA head in NumPy, in this project's reader.

Variant "int8": dynamic quantization, with the rest in float32; it has no bf16 on CPUs. Its encoder leaves padding
out of its products.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from in_reader import started
from rival import Order, Started, run

if TYPE_CHECKING:
    from in_reader import Inputs, Logits


def start(order: Order) -> Started:
    import ctranslate2
    from safetensors.numpy import load_file

    folder = order.kept("int8", lambda to: _convert(order.checkpoint, to))
    encoder = ctranslate2.Encoder(
        str(folder), device="cpu", compute_type="int8_float32", inter_threads=1, intra_threads=order.threads
    )
    weights = load_file(Path(order.checkpoint, "model.safetensors"))
    matrix, bias = (weights[f"qa_outputs.{name}"].astype(np.float32) for name in ("weight", "bias"))

    def logits(inputs: Inputs) -> tuple[Logits, Logits]:
        ids = ctranslate2.StorageView.from_array(inputs["input_ids"].astype(np.int32))
        lengths = ctranslate2.StorageView.from_array(inputs["attention_mask"].sum(axis=1, dtype=np.int32))
        out = encoder.forward_batch(ids, lengths, token_type_ids=inputs["token_type_ids"].tolist())
        states = np.array(out.last_hidden_state.to(ctranslate2.DataType.float32))
        scores = states @ matrix.T + bias  # (B, T, 2)
        return scores[..., 0], scores[..., 1]

    return started(order.checkpoint, logits, {"threads": order.threads, "compute type": encoder.compute_type})


def _convert(checkpoint: str, to: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(checkpoint).convert(str(to), quantization="int8", force=True)


if __name__ == "__main__":
    run(start)
