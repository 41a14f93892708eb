"""ORTModelForQuestionAnswering of optimum-onnx in the pipeline of transformers 4.

Variants: "fp32", and "int8", its own dynamic quantization with the preset for the CPU at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rival import Order, Started, old_pipeline, run, torch_threads


def start(order: Order) -> Started:
    import onnxruntime
    from optimum.onnxruntime import ORTModelForQuestionAnswering

    torch_threads(order.threads)  # the pipeline's own arithmetic
    folder = order.kept("fp32", lambda to: _export(order.checkpoint, to))
    facts: dict[str, Any] = {"threads": order.threads}
    file = "model.onnx"
    if order.variant == "int8":
        preset = _preset()
        folder = order.kept(f"int8-{preset}", lambda to: _quantize(folder, to, preset))
        file = "model_quantized.onnx"
        facts["quantization"] = f"dynamic, AutoQuantizationConfig.{preset}(is_static=False, per_channel=False)"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = order.threads
    model = ORTModelForQuestionAnswering.from_pretrained(
        folder, file_name=file, session_options=options, provider="CPUExecutionProvider"
    )
    return Started(old_pipeline(model, order.checkpoint), facts)


def _preset() -> str:
    """The name of optimum's preset for this CPU."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return "avx2"
    if "asimd" in flags:
        return "arm64"
    return "avx512_vnni" if "avx512_vnni" in flags else "avx512" if "avx512f" in flags else "avx2"


def _export(checkpoint: str, to: Path) -> None:
    from optimum.onnxruntime import ORTModelForQuestionAnswering

    ORTModelForQuestionAnswering.from_pretrained(checkpoint, export=True).save_pretrained(to)


def _quantize(fp32: Path, to: Path, preset: str) -> None:
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    settings = getattr(AutoQuantizationConfig, preset)(is_static=False, per_channel=False)
    ORTQuantizer.from_pretrained(fp32).quantize(quantization_config=settings, save_dir=to)


if __name__ == "__main__":
    run(start)
