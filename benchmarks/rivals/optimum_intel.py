"""OVModelForQuestionAnswering of optimum-intel, which runs OpenVINO, in the pipeline of transformers 4.

Variants: "fp32"; "bf16", where the CPU has it; "int8", static quantization by its OVQuantizer with defaults, which
are NNCF's for transformers, calibrated on this project's own texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rival import Order, Started, old_pipeline, run, torch_threads

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def start(order: Order) -> Started:
    import openvino
    from optimum.intel import OVModelForQuestionAnswering

    torch_threads(order.threads)  # the pipeline's own arithmetic
    can = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if order.variant == "bf16" and "BF16" not in can:
        raise RuntimeError(f"OpenVINO has no bf16 on this CPU; it has {', '.join(can)}")
    folder = order.kept("fp32", lambda to: _export(order.checkpoint, to))
    facts: dict[str, Any] = {"threads": order.threads, "precision hint": _HINTS[order.variant]}
    if order.variant == "int8":
        pairs = order.calibration_pairs()
        fix = _overflow_fix()
        folder = order.kept(f"int8-{fix}", lambda to: _quantize(order.checkpoint, folder, to, pairs, fix))
        facts["quantization"] = (
            f"static, OVQuantizationConfig(overflow_fix={fix!r}), on {len(pairs)} questions of this project's own"
        )
    model = OVModelForQuestionAnswering.from_pretrained(
        folder,
        ov_config={
            "INFERENCE_NUM_THREADS": str(order.threads),
            "INFERENCE_PRECISION_HINT": _HINTS[order.variant],
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": "",
        },
    )
    return Started(old_pipeline(model, order.checkpoint), facts)


def _overflow_fix() -> str:
    """Without VNNI the sums of 8-bit products overflow unless half a bit is left free."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return "enable"
    return "disable" if {"avx512_vnni", "avx_vnni", "asimd"}.intersection(flags) else "enable"


def _export(checkpoint: str, to: Path) -> None:
    from optimum.intel import OVModelForQuestionAnswering

    OVModelForQuestionAnswering.from_pretrained(
        checkpoint, export=True, compile=False, load_in_8bit=False
    ).save_pretrained(to)


def _quantize(checkpoint: str, fp32: Path, to: Path, pairs: list[tuple[str, str]], fix: str) -> None:
    import nncf
    from optimum.intel import OVConfig, OVModelForQuestionAnswering, OVQuantizationConfig, OVQuantizer
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    inputs = [
        dict(tokenizer(question, context, truncation="only_second", max_length=384, return_tensors="np"))
        for question, context in pairs
    ]
    model = OVModelForQuestionAnswering.from_pretrained(fp32, compile=False)
    OVQuantizer.from_pretrained(model).quantize(
        calibration_dataset=nncf.Dataset(inputs),
        ov_config=OVConfig(quantization_config=OVQuantizationConfig(overflow_fix=fix, num_samples=len(inputs))),
        save_directory=to,
    )


if __name__ == "__main__":
    run(start)
