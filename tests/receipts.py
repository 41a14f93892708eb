"""Receipts of precisions that nobody measured, for tests of what is done with them."""

from __future__ import annotations

from dataclasses import replace

from qa_onnx.bundle.manifest import Accuracy, Receipt


def receipt(percent: float, *, gate: float) -> Receipt:
    """Return a receipt with such a share of fp32's F1, and the share that its export asked for, in per cent."""
    fp32 = Accuracy(70.0, 80.0, (69.0, 71.0), (79.0, 81.0))
    return Receipt(
        data="dev.json", sha256="0" * 64, n=100, seed=0, accuracy=replace(fp32, f1=80.0 * percent / 100),
        fp32=fp32, source=fp32, source_name="PyTorch", engine="onnxruntime/cpu", gate=gate, attempts=1,
        kept_back=(), settings={}, instruction_sets=(), versions={}, date="2026-11-25",
    )  # fmt: skip
