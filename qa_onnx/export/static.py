"""A plain float32 graph -> int8 with fixed scales, in standard ONNX (QuantizeLinear and DequantizeLinear).

Products with a constant matrix are quantized: the matrix to 7 bits (see quantize.py) with one scale for every
output channel, the activation to uint8 with one scale and zero point, which calibration found. Engines see

    activation -> QuantizeLinear -> DequantizeLinear -> MatMul <- DequantizeLinear <- int8 matrix

and multiply integers. Their results stay float32: rounding those too costs accuracy and saves little. Also in
float32, because they cost little time and much accuracy: the products of attention, both sides of which
change with the text, and a product with few output channels, such as the one that makes the logits.
Embeddings are stored as int8, one scale for every channel, and dequantized after the look-up.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qa_onnx.errors import ExportError
from qa_onnx.export.calibrate import LEVELS, calibrate, channel_maxima
from qa_onnx.export.graph import save
from qa_onnx.export.smooth import matrices, products
from qa_onnx.export.smooth import smooth as smooth_model

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.export.calibrate import Batches, TensorRange
    from qa_onnx.export.smooth import Product

_FEW_CHANNELS = 8
_LEAST_OPSET = 13  # the first one whose DequantizeLinear has a scale for every channel
_LARGEST_WEIGHT = 64  # 7 bits, as in quantize.py


class Recipe(NamedTuple):
    """A method of `calibrate.METHODS`, and SmoothQuant's alpha or None."""

    method: str
    smooth: float | None


# Clipping moves the logits further than the coarser steps of the whole range do: the few values that are far
# out count. Smoothing makes them smaller instead.
STATIC_DEFAULTS = Recipe(method="minmax", smooth=0.75)


@dataclass(frozen=True, slots=True)
class StaticResult:
    """How many nodes of each operator were quantized, by which recipe, and how many batches calibration read."""

    nodes: dict[str, int]
    method: str
    smooth: float | None
    batches: int


def quantize_static(
    plain: Path,
    target: Path,
    batches: Batches,
    *,
    method: str = STATIC_DEFAULTS.method,
    smooth: float | None = STATIC_DEFAULTS.smooth,
    keep: Collection[str] = (),
) -> StaticResult:
    """Smooth, calibrate and quantize a graph.

    Args:
        plain: a float32 graph of standard operators.
        target: the file to write.
        batches: gives the same batches at every call: int64 (B, T) under each of the graph's inputs. It is
            called up to three times; a batch's activations are held at once.
        method: of `calibrate.METHODS`.
        smooth: SmoothQuant's alpha, 0 to 1; None: no smoothing.
        keep: names of nodes that stay float32.

    Raises:
        InputError: an option is out of range, or there are no batches.
        ExportError: the graph cannot be quantized.
    """
    import onnx

    model = onnx.load(plain)
    if smooth is not None:
        maxima = channel_maxima(model, quantizable_tensors(model, keep=keep), batches)
        model = smooth_model(model, maxima, alpha=smooth, keep=keep).model
    found = calibrate(model, quantizable_tensors(model, keep=keep), batches, method=method)
    nodes = _insert(model, found.ranges, keep)
    save(model, target)
    return StaticResult(nodes, method, smooth, found.batches)


def to_int8_static(
    source: Path, target: Path, ranges: Mapping[str, TensorRange], *, keep: Collection[str] = ()
) -> dict[str, int]:
    """Quantize a graph's products with constant matrices, and its embeddings, to int8.

    Args:
        source: a float32 graph of standard operators.
        target: the file to write.
        ranges: of the tensors that `quantizable_tensors` names.
        keep: names of nodes that stay float32.

    Returns:
        How many nodes of each operator were quantized.

    Raises:
        ExportError: a range is missing, or the graph cannot be quantized.
    """
    import onnx

    model = onnx.load(source)
    nodes = _insert(model, ranges, keep)
    save(model, target)
    return nodes


def quantizable_tensors(model: Any, *, keep: Collection[str] = ()) -> list[str]:
    """Names of the activations of an ONNX model that need a range, in the order of the graph."""
    return list(dict.fromkeys(product.tensor for product in _chosen(model, keep)))


def _chosen(model: Any, keep: Collection[str]) -> list[Product]:
    """The products to quantize."""
    sizes = {value.name: tuple(value.dims) for value in model.graph.initializer}
    return [
        product
        for product in products(model)
        if product.node.name not in keep and sizes[product.weight][product.axis] > _FEW_CHANNELS
    ]


def _lookups(model: Any, keep: Collection[str]) -> set[str]:
    """Outputs of the Gathers that look up rows of a constant matrix."""
    tables = matrices(model)
    return {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Gather"
        and node.input[0] in tables
        and node.name not in keep
        and all(attribute.i == 0 for attribute in node.attribute)  # its only one is the axis
    }


def _insert(model: Any, ranges: Mapping[str, TensorRange], keep: Collection[str]) -> dict[str, int]:
    """Put the quantizing nodes into a model, in place; count what they quantize."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)
    if opset < _LEAST_OPSET:
        raise ExportError(f"the graph has opset {opset}; int8-static needs {_LEAST_OPSET} or newer")
    chosen = {product.node.output[0]: product for product in _chosen(model, keep)}
    lookups = _lookups(model, keep)
    missing = sorted({product.tensor for product in chosen.values()} - set(ranges))
    if missing:
        raise ExportError(f"there is no range for {', '.join(missing[:4])}: calibrate these tensors too")
    if not chosen:
        raise ExportError("the graph has no product with a constant matrix to quantize, or all are kept")
    rewriter = _Rewriter(model.graph)
    for node in list(model.graph.node):
        if node.output[0] in chosen:
            rewriter.product(chosen[node.output[0]], ranges[node.input[0]])
        elif node.output[0] in lookups:
            rewriter.lookup(node)
        else:
            rewriter.nodes.append(node)
    rewriter.finish()
    counts = Counter({"Gather": len(lookups)}) + Counter(product.node.op_type for product in chosen.values())
    return dict(sorted(counts.items()))


class _Rewriter:
    """Writes a graph's nodes anew, in order; what several nodes need is made once."""

    def __init__(self, graph: Any) -> None:
        self.nodes: list[Any] = []
        self._graph = graph
        self._constants = {value.name: value for value in graph.initializer}
        self._made: set[str] = set()

    def product(self, product: Product, span: TensorRange) -> None:
        """Let a MatMul or Gemm read both of its sides quantized."""
        matrix = f"{product.weight}_dequantized_{product.axis}"
        if matrix not in self._made:
            parameters = self._matrix(product.weight, product.axis)
            self._add("DequantizeLinear", parameters, matrix, axis=product.axis)
        product.node.input[:2] = [self._activation(product.tensor, span), matrix]
        self.nodes.append(product.node)

    def lookup(self, node: Any) -> None:
        """Let a Gather look up int8 rows, and dequantize these."""
        rows, output = f"{node.output[0]}_int8", node.output[0]
        node.input[0], *parameters = self._matrix(node.input[0], 1)
        node.output[0] = rows
        self.nodes.append(node)
        self._add("DequantizeLinear", [rows, *parameters], output, axis=-1)

    def finish(self) -> None:
        """Put the nodes into the graph, and drop the constants that none of them reads."""
        del self._graph.node[:]
        self._graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input}
        constants = [value for name, value in self._constants.items() if name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(constants)
        del self._graph.value_info[:]  # of the float graph

    def _activation(self, tensor: str, span: TensorRange) -> str:
        """Quantize a tensor to uint8 and back; the result's name."""
        name = f"{tensor}_dequantized"
        if name not in self._made:
            low, high = min(span.low, 0.0), max(span.high, 0.0)  # zero must be exact
            scale = np.float32((high - low) / LEVELS) if high > low else np.float32(1)
            zero = np.uint8(np.clip(np.rint(-low / scale), 0, LEVELS))
            parameters = [f"{tensor}_scale", f"{tensor}_zero"]
            self._store(parameters, np.asarray(scale), np.asarray(zero))
            self._add("QuantizeLinear", [tensor, *parameters], f"{tensor}_quantized")
            self._add("DequantizeLinear", [f"{tensor}_quantized", *parameters], name)
        return name

    def _matrix(self, name: str, axis: int) -> list[str]:
        """Quantize an initializer; names of the int8 matrix, its scales and its zero points."""
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
        self._made.add(output)
