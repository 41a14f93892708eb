"""A float32 graph -> the same graph in half the bytes, where float16 holds its weights exactly.

Checkpoints are often saved in float16. Each of their matrices is then stored as float16, with a Cast to float32
behind it, which engines compute once, when they load the graph: the graph runs in float32, with bit-identical
logits.

Left out: the precision fp16, whose products are computed in float16 (half.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.export.graph import replace_all, save

if TYPE_CHECKING:
    from pathlib import Path

_LEAST = 1024  # elements; smaller tensors are not worth a node
_SUFFIX = " as float16"


def store_half(source: Path, target: Path) -> None:
    """Read a float32 graph, and write it with those weights as float16 that lose nothing by it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) < _LEAST:
            continue
        weights = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = weights.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), weights):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name + _SUFFIX))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"Cast {name}", to=TensorProto.FLOAT))
    replace_all(model.graph.node, [*casts, *model.graph.node])
    save(model, target)


def restore(model: Any) -> None:
    """Turn weights of an ONNX model that `store_half` stored as float16 into float32 again, in place.

    Quantization needs weights that are initializers.
    """
    from onnx import TensorProto, numpy_helper

    halves = {one.name: one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT16}
    nodes = []
    for node in model.graph.node:
        to_float = any(one.name == "to" and one.i == TensorProto.FLOAT for one in node.attribute)
        if node.op_type == "Cast" and to_float and node.input[0] in halves:
            weights = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
        else:
            nodes.append(node)
    if len(nodes) == len(model.graph.node):
        return
    replace_all(model.graph.node, nodes)
    read = {name for node in nodes for name in node.input}
    tensors = model.graph.initializer
    replace_all(tensors, [one for one in tensors if one.name in read or one.name not in halves])
