"""The process of a contender that runs this project's reader; see protocol.py.

Its only argument is JSON: the arguments of `Reader.load`, or those of `torch_reader` under "torch". A request may
set the option `batch_tokens`, or ask for "stages".
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from qa_onnx import Example, Options, QaOnnxError, Reader
from qa_onnx.bench.protocol import own_stdout, say, serve
from qa_onnx.engines.measured import MeasuredSession

if TYPE_CHECKING:
    from qa_onnx.spans import ScoredWindow, WindowLogits

STAGES = ("tokenize", "pack", "model", "search", "map")


def main() -> None:
    """Answer requests until stdin ends."""
    out = own_stdout()
    arguments = json.loads(sys.argv[1])
    try:
        if "torch" in arguments:
            from qa_onnx.bench.torch_reader import torch_reader

            reader, backend = torch_reader(**arguments["torch"]), "PyTorch"
        else:
            reader = Reader.load(**arguments)
            backend = str(reader.backend)
    except QaOnnxError as error:
        say(out, error=str(error))
        return
    always = dataclasses.replace(reader.options, n_best=1, null_threshold=None)

    def answer(pairs: list[tuple[str, str]], **options: Any) -> list[str]:
        predictions = reader.predict(
            [Example(*pair) for pair in pairs], options=dataclasses.replace(always, **options)
        )
        return [prediction.choose(None).text for prediction in predictions]

    def split(request: dict[str, Any]) -> dict[str, Any]:
        examples = [Example(question, context) for question, context in request["pairs"]]
        return stages(reader, examples, dataclasses.replace(always, **request.get("options", {})))

    # Rounds repeat texts, and a cached text would cost no tokenizing.
    serve(out, answer, facts={"backend": backend}, before=reader.steps.windower.forget, stages=split)


def stages(reader: Reader, examples: list[Example], options: Options) -> dict[str, Any]:
    """Measure the stages of `Reader.predict` for one group of examples, one stage after the other.

    Returns:
        `stages`: seconds of each of `STAGES` over all examples; `windows`: their number; `tokens`: number of the
        model's input tokens, with padding; `padding`: share of the padding.
    """
    seconds = dict.fromkeys(STAGES, 0.0)
    measured = MeasuredSession(reader.steps.session, reader.steps.pad_id)
    steps = dataclasses.replace(reader.steps, session=measured)
    began = time.perf_counter()
    cut = steps.cut(examples, options)
    windows = [window for example in cut for window in example.windows]
    seconds["tokenize"] = time.perf_counter() - began
    rows: list[WindowLogits] = []
    tokens = 0
    began = time.perf_counter()
    for batch, batch_rows in steps.run(windows, batch_tokens=options.batch_tokens):
        tokens += batch.tokens
        rows += batch_rows
    ran = time.perf_counter()
    seconds["model"] = measured.seconds
    seconds["pack"] = ran - began - measured.seconds
    scored: list[list[ScoredWindow]] = [[] for _ in cut]
    for part in steps.search(rows, options):
        scored[part.window.example].append(part)
    began = time.perf_counter()
    seconds["search"] = began - ran
    for example, parts in zip(cut, scored, strict=True):
        steps.merge(example, parts, options).choose(None)
    seconds["map"] = time.perf_counter() - began
    real = sum(len(window.input_ids) for window in windows)
    return {"stages": seconds, "windows": len(windows), "tokens": tokens, "padding": 1 - real / tokens}


if __name__ == "__main__":
    main()
