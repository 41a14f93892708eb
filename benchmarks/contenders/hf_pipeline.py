"""A contender of benchmarks/race.py: the pipeline of transformers 4, with its defaults.

Arguments: checkpoint, "torch" or "onnx-int8" (optimum-onnx and its own dynamic quantization), threads. Needs
transformers 4.57 and torch; for ONNX optimum-onnx 0.1.0.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, __file__.rpartition("/")[0])
from protocol import serve


def main() -> None:
    checkpoint, kind, threads = sys.argv[1:]
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline

    torch.set_num_threads(int(threads))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if kind == "torch":
        model = AutoModelForQuestionAnswering.from_pretrained(checkpoint, torch_dtype=torch.float32)
        asker = pipeline("question-answering", model=model, tokenizer=tokenizer)
    else:
        asker = pipeline("question-answering", model=_quantized(checkpoint, int(threads)), tokenizer=tokenizer)

    def answer(pairs: list[tuple[str, str]]) -> list[str]:
        found = asker(
            question=[question for question, _ in pairs],
            context=[context for _, context in pairs],
            max_answer_len=30,
        )
        return [one["answer"] for one in (found if isinstance(found, list) else [found])]

    serve(answer)


def _quantized(checkpoint: str, threads: int):  # type: ignore[no-untyped-def]  # its class is optimum's
    import onnxruntime
    from optimum.onnxruntime import ORTModelForQuestionAnswering, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    folder = Path(tempfile.mkdtemp(prefix="optimum-"))
    ORTModelForQuestionAnswering.from_pretrained(checkpoint, export=True).save_pretrained(folder)
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    ORTQuantizer.from_pretrained(folder).quantize(settings, folder / "int8")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return ORTModelForQuestionAnswering.from_pretrained(
        folder / "int8", file_name="model_quantized.onnx", session_options=options
    )


if __name__ == "__main__":
    main()
