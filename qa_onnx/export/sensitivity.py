"""Measure which nodes of a graph quantization hurts most.

Each node is quantized alone while all others stay in float32; the change of the logits on real windows is its
sensitivity. The most sensitive nodes are the first to exclude when a precision misses the gate.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.export.parity import real_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.batches import Batch

_LOG = logging.getLogger(__name__)

_PRODUCTS = ("MatMul", "Attention", "Gemm")  # operators that become integer products


def rank(
    source: Path, names: Sequence[str], quantize: Callable[[Collection[str]], Path], batches: Sequence[Batch]
) -> list[str]:
    """Order nodes by their sensitivity, the most sensitive first.

    The sensitivity is the mean squared change of a logit when the node alone is quantized.

    Args:
        source: the float32 graph.
        names: of the nodes that can be quantized.
        quantize: makes a graph in which the named nodes stay in float32 and returns its file.
        batches: windows of real text.

    Returns:
        Names of nodes.
    """
    expected = _logits(source, batches)
    errors = {}
    for number, name in enumerate(names, 1):
        logits = _logits(quantize([other for other in names if other != name]), batches)
        errors[name] = float(((logits - expected) ** 2).mean())
        _LOG.info(
            "node %d of %d: quantized alone, %s changes a logit by %.3g (mean square)",
            *(number, len(names), name, errors[name]),
        )
    return sorted(names, key=lambda name: -errors[name])


def constant_products(source: Path) -> list[str]:
    """Return the names of the nodes that multiply by a constant matrix, in the order of the graph."""
    import onnx

    graph = onnx.load(source).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [
        node.name for node in graph.node if node.op_type in _PRODUCTS and not constants.isdisjoint(node.input[1:2])
    ]


def _logits(path: Path, batches: Sequence[Batch]) -> NDArray[np.float32]:
    """Return the start and end logits of all batches, without padding, as one vector."""
    session = OnnxSession(path)
    rows = []
    for batch in batches:
        start, end = session.run({name: batch.inputs[name] for name in session.input_names})
        real = real_tokens(batch)
        rows += [start[real], end[real]]
    return np.concatenate(rows)
