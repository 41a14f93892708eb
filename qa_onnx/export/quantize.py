"""A float32 graph -> int8, dynamically: weights now, activations at run time.

Each weight matrix gets one scale for every output channel, which keeps the answers of small models within one
per cent of float32's F1 where one scale for the whole matrix does not. Activations get one scale a tensor
while the graph runs, so no calibration data is needed; the price is that the rows of a batch share that scale
and can move each other's logits a little.

Layers that share a matrix (ALBERT) get weights of 7 bits: products of those cannot saturate on any CPU, and
ONNX Runtime's exact kernels for CPUs without VNNI refuse a matrix that several nodes read.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from qa_onnx.export.graph import fused_nodes, quiet, save
from qa_onnx.export.sensitivity import PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


def to_int8(source: Path, target: Path, *, keep: Collection[str] = ()) -> dict[str, int]:
    """Quantize a graph's matrix products and embeddings to int8.

    Args:
        source: a float32 graph, plain or fused.
        target: the file to write.
        keep: names of nodes that stay float32.

    Returns:
        How many nodes of each of ONNX Runtime's own operators the result has.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=_shares_matrices(onnx.load(source)),
            nodes_to_exclude=list(keep),
            # Shape inference does not know the fused nodes, so their outputs' type is told here.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    model = onnx.load(target)
    save(model, target)
    return fused_nodes(model)


def _shares_matrices(model: Any) -> bool:
    """Whether two products of a graph read the same constant."""
    constant = {tensor.name for tensor in model.graph.initializer}
    reads = Counter(
        name
        for node in model.graph.node
        if node.op_type in PRODUCTS
        for name in node.input[1:2]
        if name in constant
    )
    return any(count > 1 for count in reads.values())
