"""A plain float32 graph -> int8 with fixed scales, in standard ONNX (QuantizeLinear and DequantizeLinear).

Products with a constant matrix are quantized: the matrix to 7 bits (see quantize.py) with one scale for every
output channel, the activation to uint8 with one scale and zero point, from its range on real text. Engines see

    activation -> QuantizeLinear -> DequantizeLinear -> MatMul <- DequantizeLinear <- int8 matrix

and multiply integers. The results stay float32: rounding those too costs accuracy and saves little. Two more kinds
of products stay float32, since they cost little time and much accuracy: those of attention, both sides of which
change with the text, and those with few output channels, such as the one that makes the logits. Embeddings are
stored as int8 with one scale for every channel, and dequantized after the look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.errors import ExportError
from qa_onnx.export.graph import GraphFile, fused_nodes, opset_of, replace_all, save
from qa_onnx.export.ranges import channel_maxima, tensor_ranges
from qa_onnx.export.smooth import matrices, products, smooth

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.export.ranges import Inputs, TensorRange
    from qa_onnx.export.smooth import Product

ALPHA = 0.75  # of SmoothQuant
_FEW_CHANNELS = 8
_LEAST_OPSET = 13  # the first one whose DequantizeLinear has a scale for every channel
_LARGEST_WEIGHT = 64  # 7 bits, as in quantize.py
_LEVELS = 255  # steps between the 256 values of a byte


def quantize_static(
    plain: Path,
    target: Path,
    batches: Collection[Inputs],
    *,
    exclude: Collection[str] = (),
) -> GraphFile:
    """Smooth and quantize a graph, with the ranges that its activations have on batches of text.

    Args:
        plain: a float32 graph of standard operators.
        target: the file to write.
        batches: int64 (B, T) under each of the graph's inputs.
        exclude: names of nodes that stay float32.

    Raises:
        InputError: there are no batches.
        ExportError: the graph cannot be quantized.
    """
    import onnx

    model = onnx.load(plain)
    opset = opset_of(model)
    if opset < _LEAST_OPSET:
        raise ExportError(f"the graph has opset {opset}; int8-static needs {_LEAST_OPSET} or newer")
    tensors = {product.tensor for product in quantizable(model, exclude)}
    if not tensors:
        raise ExportError("the graph has no product with a constant matrix to quantize, or all are excluded")
    smooth(model, channel_maxima(model, tensors, batches), alpha=ALPHA, exclude=exclude)
    chosen = {product.node.output[0]: product for product in quantizable(model, exclude)}
    ranges = tensor_ranges(model, {product.tensor for product in chosen.values()}, batches)
    lookups = _lookups(model, exclude)
    rewriter = _Rewriter(model.graph)
    for node in list(model.graph.node):
        if node.output[0] in chosen:
            rewriter.product(chosen[node.output[0]], ranges[node.input[0]])
        elif node.output[0] in lookups:
            rewriter.lookup(node)
        else:
            rewriter.nodes.append(node)
    rewriter.finish()
    save(model, target)
    settings = {"method": "minmax", "smooth": ALPHA, "batches": len(batches)}
    return GraphFile(target, fused_nodes(model), tuple(exclude), settings)


def quantizable_names(plain: Path) -> list[str]:
    """Return the names of the nodes that `quantize_static` quantizes, in the order of the graph."""
    import onnx

    return [product.node.name for product in quantizable(onnx.load(plain), ())]


def quantizable(model: Any, exclude: Collection[str]) -> list[Product]:
    """Return the products to quantize, in the order of the graph."""
    sizes = {value.name: tuple(value.dims) for value in model.graph.initializer}
    return [
        product
        for product in products(model)
        if product.node.name not in exclude and sizes[product.weight][product.axis] > _FEW_CHANNELS
    ]


def _lookups(model: Any, exclude: Collection[str]) -> set[str]:
    """Return the outputs of the Gathers that look up rows of a constant matrix."""
    tables = matrices(model)
    return {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Gather"
        and node.input[0] in tables
        and node.name not in exclude
        and all(attribute.i == 0 for attribute in node.attribute)  # its only one is the axis
    }


class _Rewriter:
    """Writes a graph's nodes again, in order; what several nodes need is added once."""

    def __init__(self, graph: Any) -> None:
        self.nodes: list[Any] = []
        self._graph = graph
        self._constants = {value.name: value for value in graph.initializer}
        self._added: set[str] = set()

    def product(self, product: Product, span: TensorRange) -> None:
        """Let a MatMul or Gemm read both of its sides quantized."""
        matrix = f"{product.weight}_dequantized_{product.axis}"
        if matrix not in self._added:
            parameters = self._matrix(product.weight, product.axis)
            self._add("DequantizeLinear", parameters, matrix, axis=product.axis)
        product.node.input[:2] = [self._activation(product.tensor, span), matrix]
        self.nodes.append(product.node)

    def lookup(self, node: Any) -> None:
        """Let a Gather look up int8 rows, and dequantize them."""
        rows, output = f"{node.output[0]}_int8", node.output[0]
        node.input[0], *parameters = self._matrix(node.input[0], 1)
        node.output[0] = rows
        self.nodes.append(node)
        self._add("DequantizeLinear", [rows, *parameters], output, axis=-1)

    def finish(self) -> None:
        """Put the nodes into the graph, and drop the constants that none of them reads."""
        replace_all(self._graph.node, self.nodes)
        read = {name for node in self.nodes for name in node.input}
        replace_all(self._graph.initializer, [value for name, value in self._constants.items() if name in read])
        del self._graph.value_info[:]  # of the float graph

    def _activation(self, tensor: str, span: TensorRange) -> str:
        """Quantize a tensor to uint8 and back; return the name of the result."""
        name = f"{tensor}_dequantized"
        if name not in self._added:
            low, high = min(span.low, 0.0), max(span.high, 0.0)  # zero must be exact
            scale = np.float32((high - low) / _LEVELS) if high > low else np.float32(1)
            zero = np.uint8(np.clip(np.rint(-low / scale), 0, _LEVELS))
            parameters = [f"{tensor}_scale", f"{tensor}_zero"]
            self._store(parameters, np.asarray(scale), np.asarray(zero))
            self._add("QuantizeLinear", [tensor, *parameters], f"{tensor}_quantized")
            self._add("DequantizeLinear", [f"{tensor}_quantized", *parameters], name)
        return name

    def _matrix(self, name: str, axis: int) -> list[str]:
        """Quantize an initializer; return the names of the int8 matrix, its scales and its zero points."""
        import onnx

        names = [f"{name}_int8_{axis}", f"{name}_scales_{axis}", f"{name}_zeros_{axis}"]
        if names[0] not in self._constants:
            matrix = np.asarray(onnx.numpy_helper.to_array(self._constants[name]))
            largest = np.abs(matrix).max(axis=1 - axis, keepdims=True)
            scales = np.where(largest > 0, largest / _LARGEST_WEIGHT, 1).astype(np.float32)
            levels = np.clip(np.rint(matrix / scales), -_LARGEST_WEIGHT, _LARGEST_WEIGHT).astype(np.int8)
            self._store(names, levels, scales.ravel(), np.zeros(scales.size, np.int8))
        return names

    def _store(self, names: list[str], *arrays: NDArray[Any]) -> None:
        import onnx

        for name, array in zip(names, arrays, strict=True):
            self._constants[name] = onnx.numpy_helper.from_array(array, name)

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: int) -> None:
        import onnx

        self.nodes.append(onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        self._added.add(output)
