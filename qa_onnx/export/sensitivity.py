"""Which nodes of a graph does quantization hurt most? Measured, one at a time.

Each candidate is quantized alone, all others stay in float32, and the change of the logits on real windows is
its sensitivity. The nodes at the top of the list are the ones to keep back when a precision misses the gate.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.engines.onnx_cpu import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.batches import Batch
    from qa_onnx.spans import Logits

_LOG = logging.getLogger(__name__)

# Operators that the quantizers turn into integer products.
_PRODUCTS = ("MatMul", "Attention", "Gemm")


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """A node, and the mean squared change of a logit when it alone is quantized."""

    node: str
    error: float


def products(source: Path) -> tuple[str, ...]:
    """Names of the nodes of a float32 graph that multiply by a constant matrix, in the order of the graph."""
    import onnx

    model = onnx.load(source)
    constant = {tensor.name for tensor in model.graph.initializer}
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type in _PRODUCTS and any(name in constant for name in node.input[1:2])
    )


def rank(
    source: Path,
    candidates: Sequence[str],
    quantize: Callable[[Collection[str]], Path],
    batches: Sequence[Batch],
) -> list[Sensitivity]:
    """Order nodes by what quantizing each alone does to the logits, worst first.

    Args:
        source: the float32 graph.
        candidates: names of its nodes.
        quantize: makes a graph in which the given nodes stay in float32 and returns its file.
        batches: windows of real text.
    """
    expected = _logits(source, batches)
    found = []
    for number, node in enumerate(candidates, 1):
        alone = quantize([other for other in candidates if other != node])
        errors = [((new - old) ** 2) for new, old in zip(_logits(alone, batches), expected, strict=True)]
        found.append(Sensitivity(node, float(np.concatenate(errors).mean())))
        _LOG.info("sensitivity %d of %d: %s %.3g", number, len(candidates), node, found[-1].error)
    return sorted(found, key=lambda item: -item.error)


def _logits(path: Path, batches: Sequence[Batch]) -> list[NDArray[np.float32]]:
    """Start and end logits of every batch, padding left out, as one vector each."""
    session = OnnxSession(path)
    rows: list[Logits] = []
    for batch in batches:
        lengths = np.array([len(window.input_ids) for window in batch.windows])
        start, end = session.run({name: batch.inputs[name] for name in session.input_names})
        real = np.arange(start.shape[1]) < lengths[:, None]
        rows.append(np.concatenate((start[real], end[real])))
    return rows
