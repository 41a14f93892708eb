"""A plain float32 graph -> int8 with fixed scales, in standard ONNX (QuantizeLinear and DequantizeLinear).

Products with a constant matrix are quantized: the matrix to 7 bits (see quantize.py) with one scale for every
output channel, the activation to uint8 with one scale and zero point, from its range on real text. Engines see

    activation -> QuantizeLinear -> DequantizeLinear -> MatMul <- DequantizeLinear <- int8 matrix

and multiply integers. The results stay float32: rounding those too costs accuracy and saves little. So do products
with few output channels, such as the one that makes the logits: they take little time, and quantizing them costs
much accuracy. Embeddings are stored as int8 with one scale for every channel, and dequantized after the look-up.

The products of attention (attention.py) are quantized too, with one scale for each side and the zero point 0.
Probabilities become uint8, in steps of 1/255: their range is known. Queries, keys and values become int8, up to
the largest absolute value on real text, which has 7 bits in keys and values, on the right, as matrices do. Where a
few values are so large that half of all would be less than a step, the product stays float32.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.errors import ExportError
from qa_onnx.export.attention import attention_products
from qa_onnx.export.graph import GraphFile, fused_nodes, opset_of, replace_all, save
from qa_onnx.export.ranges import channel_maxima, magnitudes, tensor_ranges
from qa_onnx.export.smooth import matrices, products, smooth

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.export.attention import AttentionProduct, Side
    from qa_onnx.export.ranges import Inputs, Magnitude, TensorRange
    from qa_onnx.export.smooth import Product

ALPHA = 0.75  # of SmoothQuant
_FEW_CHANNELS = 8
_LEAST_OPSET = 13  # the first one whose DequantizeLinear has a scale for every channel
_LARGEST_WEIGHT = 64  # 7 bits, as in quantize.py
_LARGEST_INT8 = 127
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
    if not tensors and not attention_products(model, exclude):
        raise ExportError("the graph has no product that can be quantized, or all are excluded")
    if tensors:
        smooth(model, channel_maxima(model, tensors, batches), alpha=ALPHA, exclude=exclude)
    chosen = {product.node.output[0]: product for product in quantizable(model, exclude)}
    ranges = tensor_ranges(model, {product.tensor for product in chosen.values()}, batches)
    _rewrite(model, chosen, ranges, _scaled_sides(model, exclude, batches), exclude)
    save(model, target)
    settings = {"method": "minmax", "smooth": ALPHA, "batches": len(batches)}
    return GraphFile(target, fused_nodes(model), tuple(exclude), settings)


def quantizable_names(plain: Path) -> list[str]:
    """Return the names of the nodes that `quantize_static` quantizes, in the order of the graph."""
    import onnx

    model = onnx.load(plain)
    found: list[Product | AttentionProduct] = [*quantizable(model, ()), *attention_products(model)]
    outputs = {product.node.output[0] for product in found}
    return [node.name for node in model.graph.node if node.output[0] in outputs]


def quantizable(model: Any, exclude: Collection[str]) -> list[Product]:
    """Return the products with matrices to quantize, in the order of the graph."""
    sizes = {value.name: tuple(value.dims) for value in model.graph.initializer}
    return [
        product
        for product in products(model)
        if product.node.name not in exclude and sizes[product.weight][product.axis] > _FEW_CHANNELS
    ]


def _scaled_sides(model: Any, exclude: Collection[str], batches: Collection[Inputs]) -> list[tuple[Side, float]]:
    """Return the sides of the attention products that can be quantized, each with its scale."""
    found = attention_products(model, exclude)
    # Probabilities are left out: their range is known, and they would be large, heads x tokens x tokens.
    tensors = {side.tensor for product in found for side in product.sides if not side.is_softmax}
    sizes = magnitudes(model, tensors, batches)
    scaled: list[tuple[Side, float]] = []
    for product in found:
        scales = [_scale(side, sizes.get(side.tensor)) for side in product.sides]
        if all(scales):
            scaled += zip(product.sides, scales, strict=True)
    return scaled


def _scale(side: Side, size: Magnitude | None) -> float:
    """Return the scale of a side of an attention product; 0: it has none that fits.

    Args:
        side: the side.
        size: of its values on real text, if they are no probabilities; None: they are not float32.
    """
    if side.is_softmax:
        return 1 / _LEVELS
    if size is None:
        return 0.0
    if size.largest == 0:
        return 1.0
    scale = size.largest / (_LARGEST_WEIGHT if side.is_right else _LARGEST_INT8)
    return scale if size.median >= scale else 0.0


def _rewrite(
    model: Any,
    chosen: Mapping[str, Product],
    ranges: Mapping[str, TensorRange],
    sides: Iterable[tuple[Side, float]],
    exclude: Collection[str],
) -> None:
    """Quantize products, by the name of their output, sides of attention products, and look-ups in a model."""
    lookups = _lookups(model, exclude)
    by_reader: dict[str, list[tuple[Side, float]]] = defaultdict(list)
    for side, scale in sides:
        by_reader[side.reader.output[0]].append((side, scale))
    rewriter = _Rewriter(model.graph)
    for node in list(model.graph.node):
        for side, scale in by_reader[node.output[0]]:
            rewriter.side(side, scale)
        if node.output[0] in chosen:
            rewriter.product(chosen[node.output[0]], ranges[node.input[0]])
        elif node.output[0] in lookups:
            rewriter.lookup(node)
        else:
            rewriter.nodes.append(node)
    rewriter.finish()


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

    def side(self, side: Side, scale: float) -> None:
        """Quantize a side of an attention product, for this product alone."""
        prefix = f"{side.tensor}_{'right' if side.is_right else 'left'}"
        zero = np.uint8(0) if side.is_softmax else np.int8(0)
        side.reader.input[side.index] = self._rounded(side.tensor, prefix, np.float32(scale), zero)

    def _activation(self, tensor: str, span: TensorRange) -> str:
        """Quantize a tensor to uint8 and back; return the name of the result."""
        low, high = min(span.low, 0.0), max(span.high, 0.0)  # zero must be exact
        scale = np.float32((high - low) / _LEVELS) if high > low else np.float32(1)
        zero = np.uint8(np.clip(np.rint(-low / scale), 0, _LEVELS))
        return self._rounded(tensor, tensor, scale, zero)

    def _rounded(self, tensor: str, prefix: str, scale: np.float32, zero: np.uint8 | np.int8) -> str:
        """Quantize a tensor to the type of its zero point and back; return the name of the result."""
        name = f"{prefix}_dequantized"
        if name not in self._added:
            parameters = [f"{prefix}_scale", f"{prefix}_zero"]
            self._store(parameters, np.asarray(scale), np.asarray(zero))
            self._add("QuantizeLinear", [tensor, *parameters], f"{prefix}_quantized")
            self._add("DequantizeLinear", [f"{prefix}_quantized", *parameters], name)
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
