"""A model without a pipeline of its own -> what answers questions in this project's reader, as PyTorch does here.

Rivals that only run the model get the same windows, batches sorted by length and span search as PyTorch by hand
(bench/torch_reader.py), so that their ratio to it compares the engines alone. Their environments need numpy,
tokenizers, msgspec and packaging for that.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rival import Started

sys.path.append(str(Path(__file__).parents[2]))  # at the end, as in rival.py
from qa_onnx import Example, Options, Reader, Windower
from qa_onnx.bench.answerer import stages
from qa_onnx.session import RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    Inputs = Mapping[str, NDArray[np.int64]]
    Logits = NDArray[np.float32]

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_PAD, _CLS = "[PAD]", "[CLS]"


class _Session:
    """A function as a `Session`."""

    input_names = INPUTS
    run_overhead = RUN_OVERHEAD["cpu"]
    leaves_cpu_idle = False

    def __init__(self, run: Callable[[Inputs], tuple[Logits, Logits]]) -> None:
        self.run = run


def started(
    checkpoint: str,
    run: Callable[[Inputs], tuple[Logits, Logits]],
    facts: dict[str, Any],
    *,
    alone: bool = False,
) -> Started:
    """Return a contender that reads with a model of BERT's kind.

    Args:
        checkpoint: folder with its tokenizer.json and config.json.
        run: int64 (B, T) for each of `INPUTS` -> start and end logits, float32 (B, T) each.
        facts: what is worth knowing of it.
        alone: run each window alone, whatever batch a request asks for.
    """
    tokenizer = Path(checkpoint, "tokenizer.json").read_text(encoding="utf-8")
    config = json.loads(Path(checkpoint, "config.json").read_text(encoding="utf-8"))
    ids = {token["content"]: token["id"] for token in json.loads(tokenizer)["added_tokens"]}
    options = Options.for_windows_of(min(Options().max_length, config["max_position_embeddings"]))
    always = dataclasses.replace(options, n_best=1, null_threshold=None)
    reader = Reader(
        session=_Session(run),
        windower=Windower(tokenizer, cls_id=ids[_CLS]),
        pad_id=ids[_PAD],
        options=options,
        max_positions=config["max_position_embeddings"],
    )

    def wanted(batch_tokens: int = always.batch_tokens) -> Options:
        return dataclasses.replace(always, batch_tokens=1 if alone else batch_tokens)

    def answer(pairs: list[tuple[str, str]], **options: int) -> list[str]:
        predictions = reader.predict([Example(*pair) for pair in pairs], options=wanted(**options))
        return [prediction.choose(None).text for prediction in predictions]

    def split(request: dict[str, Any]) -> dict[str, Any]:
        examples = [Example(*pair) for pair in request["pairs"]]
        return stages(reader, examples, wanted(**request.get("options", {})))

    return Started(answer, facts, before=reader.steps.windower.forget, handlers={"stages": split})
