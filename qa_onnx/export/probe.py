"""A float32 graph and real text -> the largest value of every tensor, also of those inside fused nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.errors import ExportError
from qa_onnx.export.graph import replace_all
from qa_onnx.export.ranges import open_model, run_batches

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from qa_onnx.export.ranges import Batches

# Replaces float32's lowest value in the scores of padding: exp(MASK) is 0 and MASK + a score is finite in fp16.
MASK = -10_000.0
INSIDE = ("product", "qkv", "scores")  # tensors inside an Attention node

_INFINITE = -1e30  # a constant at or below it is a mask


def load(source: Path) -> Any:
    """Load a model with finite masks, float constants as initializers, and a unique name for each node.

    Raises:
        ExportError: the graph has control flow.
    """
    import onnx

    model = onnx.load(source)
    graph = model.graph
    nodes, names = [], set()
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise ExportError(f"{source} has control flow ({node.op_type}), which cannot be converted to fp16")
            if attribute.f <= _INFINITE:
                attribute.f = MASK
            _make_finite(attribute.t)
        if node.op_type == "Constant" and node.attribute[0].t.data_type == onnx.TensorProto.FLOAT:
            graph.initializer.append(node.attribute[0].t)
            graph.initializer[-1].name = node.output[0]
            continue
        if not node.name or node.name in names:
            node.name = f"{node.op_type} of {next(filter(None, node.output))}"
        names.add(node.name)
        nodes.append(node)
    for weight in graph.initializer:
        _make_finite(weight)
    replace_all(graph.node, nodes)
    return model


def _make_finite(tensor: Any) -> None:
    from onnx import TensorProto, numpy_helper

    array = numpy_helper.to_array(tensor) if tensor.data_type == TensorProto.FLOAT else np.zeros(0)
    if (array <= _INFINITE).any():
        masked = np.where(array <= _INFINITE, np.float32(MASK), array)
        tensor.CopyFrom(numpy_helper.from_array(masked, tensor.name))


def float_tensors(model: Any) -> set[str]:
    """Return the names of all float32 tensors, by ONNX Runtime's type inference, which knows fused nodes."""
    import onnx

    graph = model.graph
    inner = [name for node in graph.node for name in node.output if name]
    values = open_model(model, outputs=inner, optimize=False).get_outputs()
    floats = {value.name for value in values if value.type == "tensor(float)"}
    return floats | {weight.name for weight in graph.initializer if weight.data_type == onnx.TensorProto.FLOAT}


def peaks_of(model: Any, floats: AbstractSet[str], batches: Batches) -> dict[str, float]:
    """Return the largest absolute value of every float tensor, weights included.

    Values are reduced inside the graph, so memory does not grow with the number of tensors or batches.

    Args:
        model: as `load` returns it.
        floats: names of its float tensors.
        batches: int64 (B, T) under each of the graph's inputs.

    Returns:
        By name of the tensor; infinity if a value is not a number. Inside an Attention node: "<node>: product"
        (input x weights), "<node>: qkv" (with the bias) and "<node>: scores" (not yet scaled, since a CUDA kernel
        stores them so).

    Raises:
        InputError: there are no batches.
        ExportError: the graph does not run.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer if weight.name in floats}
    peaks = {name: float(np.abs(numpy_helper.to_array(weight)).max(initial=0)) for name, weight in weights.items()}
    watched = [name for node in graph.node for name in node.output if name in floats]
    nodes = len(graph.node)
    for node in graph.node[:nodes]:
        if is_open(node, weights):
            graph.node.extend(_attention(node, weights))
            watched += [f"{node.name}: {part}" for part in INSIDE]
    peak_names = [f"peak of {name}" for name in watched]
    infinity = numpy_helper.from_array(np.array(np.inf, np.float32))
    graph.node.append(helper.make_node("Constant", [], ["infinity"], value=infinity))
    for name, peak in zip(watched, peak_names, strict=True):
        size, nan, value = (f"{peak}: {part}" for part in ("size", "nan", "value"))
        graph.node.append(helper.make_node("Abs", [name], [size]))
        graph.node.append(helper.make_node("IsNaN", [name], [nan]))  # ReduceMax may pass over NaN
        graph.node.append(helper.make_node("Where", [nan, "infinity", size], [value]))
        graph.node.append(helper.make_node("ReduceMax", [value], [peak], keepdims=0))
    try:
        session = open_model(model, outputs=peak_names, optimize=False)
    finally:
        del graph.node[nodes:]
    largest = np.max(list(run_batches(session, peak_names, batches)), axis=0)
    return peaks | dict(zip(watched, map(float, largest), strict=True))


def is_open(node: Any, weights: Container[str]) -> bool:
    """Tell whether the tensors inside a node can be probed: those of Attention with constant weights can."""
    return node.op_type == "Attention" and len(node.input) > 2 and node.input[1] in weights


def _attention(node: Any, weights: Mapping[str, Any]) -> Iterator[Any]:
    """Yield nodes that compute what an Attention node holds in fp16 on CUDA, as "<node>: <part>" of `INSIDE`."""
    from onnx import helper, numpy_helper

    attributes = {attribute.name: attribute for attribute in node.attribute}
    sizes = [weights[node.input[1]].dims[1] // 3] * 3
    if "qkv_hidden_sizes" in attributes:
        sizes = list(attributes["qkv_hidden_sizes"].ints)
    heads = [0, 0, attributes["num_heads"].i, -1]
    product, qkv, scores = (f"{node.name}: {part}" for part in INSIDE)

    def make(operator: str, inputs: list[str], *outputs: str, **options: Any) -> Any:
        return helper.make_node(operator, inputs, outputs, **options)

    yield make("MatMul", [node.input[0], node.input[1]], product)
    yield make("Add" if node.input[2] else "Identity", [product, *filter(None, [node.input[2]])], qkv)
    for part, shape in (("sizes", sizes), ("heads", heads)):
        yield make("Constant", [], f"{qkv} {part}", value=numpy_helper.from_array(np.array(shape, np.int64)))
    yield make("Split", [qkv, f"{qkv} sizes"], *(f"{qkv} {part}" for part in "qkv"), axis=2)
    for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1])):
        yield make("Reshape", [f"{qkv} {part}", f"{qkv} heads"], f"{qkv} {part} heads")
        yield make("Transpose", [f"{qkv} {part} heads"], f"{qkv} {part} transposed", perm=order)
    yield make("MatMul", [f"{qkv} q transposed", f"{qkv} k transposed"], scores)
