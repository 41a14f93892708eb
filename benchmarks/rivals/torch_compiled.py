"""PyTorch, compiled by torch.compile with frozen weights, in this project's reader: bf16, and int8 of torchao.

Variants: "bf16"; "int8", dynamic, by `Int8DynamicActivationInt8WeightConfig`; "int8-static", by pt2e with
`X86InductorQuantizer`, calibrated on this project's own texts; "int8-bf16" and "int8-static-bf16", the same in
autocast to bf16. The products of the head stay as they are.

One graph is compiled, for one window of any length: that has no padding and needs no mask, and a batch of windows
is no faster. It is compiled and run at several lengths before the contender is ready.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from in_reader import started
from rival import Order, Started, run, torch_threads

if TYPE_CHECKING:
    from in_reader import Inputs, Logits

_WARM_UP = (384, 200, 100, 50)  # tokens
_PROGRAM = "model.pt2"
_INPUTS = ("input_ids", "token_type_ids")  # without padding the mask is all ones


def start(order: Order) -> Started:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{order.cache}/compiled"
    import torch
    from torch._inductor import config

    config.freezing = True
    facts: dict[str, Any] = {"threads": torch_threads(order.threads)}
    kind, _, half = order.variant.partition("-bf16")
    if "bf16" in order.variant and not torch.cpu._is_avx512_bf16_supported():
        raise RuntimeError("this CPU has no instructions for bf16; emulating them is slow")
    reduced = not torch.cpu._is_vnni_supported()  # then sums of products of 8 bits saturate
    if kind == "int8-static":
        model = _loaded(order.kept("static", lambda to: _quantize(order, to, reduced=reduced)))
    else:
        model = _model(order.checkpoint, torch.bfloat16 if kind == "bf16" else torch.float32)
    if kind == "int8":
        _quantize_dynamic(model, reduced=reduced)
    facts["quantization"] = "none" if kind == "bf16" else f"{kind}, activations of {7 if reduced else 8} bits"
    cast: Any = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
    compiled = torch.compile(model, dynamic=True)

    def logits(inputs: Inputs) -> tuple[Logits, Logits]:
        with torch.no_grad(), cast:
            start, end = compiled(*(torch.from_numpy(inputs[name]) for name in _INPUTS))
        return start.float().numpy(), end.float().numpy()

    for tokens in _WARM_UP:
        logits({name: np.ones((1, min(tokens, _positions(order))), np.int64) for name in _INPUTS})
    return started(order.checkpoint, logits, facts, alone=True)


def _positions(order: Order) -> int:
    config = json.loads(Path(order.checkpoint, "config.json").read_text(encoding="utf-8"))
    return int(config["max_position_embeddings"])


def _model(checkpoint: str, dtype: Any) -> Any:
    """Return a module from ids and segments to the two logits."""
    import torch
    from transformers import AutoModelForQuestionAnswering

    class Logits(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModelForQuestionAnswering.from_pretrained(checkpoint, dtype=dtype)

        def forward(self, input_ids: Any, token_type_ids: Any) -> tuple[Any, Any]:
            out = self.model(input_ids=input_ids, token_type_ids=token_type_ids)
            return out.start_logits, out.end_logits

    return Logits().eval()


def _quantize_dynamic(model: Any, *, reduced: bool) -> None:
    from torch.nn import Linear
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        quantize_,
    )

    def inner(module: Any, name: str) -> bool:
        return isinstance(module, Linear) and "qa_outputs" not in name

    quantize_(model, Int8DynamicActivationInt8WeightConfig(reduce_range=reduced), filter_fn=inner)


def _quantize(order: Order, to: Path, *, reduced: bool) -> None:
    """Calibrate and quantize, and keep the exported program."""
    import torch
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(order.checkpoint)
    longest = min(384, _positions(order))
    form: dict[str, Any] = {"return_tensors": "pt", "return_token_type_ids": True}
    encoded = [
        tokenizer(question, context, truncation="only_second", max_length=longest, **form)
        for question, context in order.calibration_pairs()
    ]
    texts = [tuple(text[name] for name in _INPUTS) for text in encoded]
    shapes = ({1: torch.export.Dim("tokens", min=2, max=_positions(order))},) * len(_INPUTS)
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=reduced))
    with torch.no_grad():
        program = torch.export.export(
            _model(order.checkpoint, torch.float32), texts[0], dynamic_shapes=shapes, strict=False
        )
        prepared = prepare_pt2e(program.module(), quantizer)
        for text in texts:
            prepared(*text)
        program = torch.export.export(convert_pt2e(prepared), texts[0], dynamic_shapes=shapes, strict=False)
    torch.export.save(program, to / _PROGRAM)


def _loaded(folder: Path) -> Any:
    import torch
    import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401  # registers the operators of the program

    return torch.export.load(folder / _PROGRAM).module()


if __name__ == "__main__":
    run(start)
