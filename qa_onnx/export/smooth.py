"""SmoothQuant: move outliers of activations into weights, where per-channel scales can take them.

Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
arXiv 2211.10438. A product X W is also (X / s) (s W) for any positive s, one number a channel of X. With

    s_j = max|X_j|^alpha / max|W_j|^(1 - alpha)

the channels of X / s are alike in size, so one scale for all of them wastes fewer levels.

Where X is a layer normalization that only such products read, the division is folded into its scale and bias and
costs nothing. In BERT the residual branch reads it too, and after a GELU there is nothing linear to fold into:
there one Mul is inserted before all products that share X.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

# Channels that are never active, or that no weight reads, must not make a factor 0 or infinite.
_SMALLEST = 1e-5


@dataclass(frozen=True, slots=True)
class Product:
    """A MatMul or Gemm that multiplies an activation by a constant matrix.

    Attributes:
        node: the ONNX node.
        tensor: name of the activation.
        weight: name of the matrix, an initializer.
        axis: of the matrix, its output channels.
    """

    node: Any
    tensor: str
    weight: str
    axis: int


def matrices(model: Any) -> set[str]:
    """Return the names of the constant float32 matrices of an ONNX model."""
    import onnx

    return {
        value.name
        for value in model.graph.initializer
        if value.data_type == onnx.TensorProto.FLOAT and len(value.dims) == 2
    }


def products(model: Any) -> list[Product]:
    """Return the products with a constant float32 matrix on the right, in the order of the graph."""
    constants = matrices(model)
    result = []
    for node in model.graph.node:
        if node.op_type not in {"MatMul", "Gemm"} or node.input[0] in constants or node.input[1] not in constants:
            continue
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if not attributes.get("transA", 0):
            result.append(Product(node, node.input[0], node.input[1], 0 if attributes.get("transB", 0) else 1))
    return result


def smooth(
    model: Any, maxima: Mapping[str, NDArray[np.float32]], *, alpha: float, exclude: Collection[str] = ()
) -> None:
    """Even out the channels that feed products with constant matrices; the model computes the same function.

    Args:
        model: a float32 ONNX model, which is changed.
        maxima: largest absolute value of each channel, float32 (C,), of the tensors to smooth.
        alpha: share of the difficulty that goes from activations to weights, 0 to 1.
        exclude: names of nodes to leave alone. So are products whose matrix another tensor's product shares.
    """
    editor = _Editor(model.graph)
    for tensor, group in _groups(model, exclude).items():
        if tensor not in maxima:
            continue
        weights = np.max([np.abs(editor.array(product.weight)).max(axis=1) for product in group], axis=0)
        factors = _factors(maxima[tensor], weights, alpha)
        inverse = (1 / factors).astype(np.float32)
        if not editor.fold(tensor, group, inverse):
            editor.multiply(tensor, group, inverse)
        for name in {product.weight for product in group}:
            editor.replace(name, editor.array(name) * factors[:, None])


def _factors(activations: NDArray[np.float32], weights: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """Return SmoothQuant's s, float32 (C,), from the largest absolute activation and weight of each channel."""
    factors = np.maximum(activations, _SMALLEST) ** alpha / np.maximum(weights, _SMALLEST) ** (1 - alpha)
    return np.maximum(factors, _SMALLEST).astype(np.float32)


def _groups(model: Any, exclude: Collection[str]) -> dict[str, list[Product]]:
    """Group MatMuls by the tensor that they read, without those that cannot be rescaled alone."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    groups: dict[str, list[Product]] = defaultdict(list)
    for product in products(model):
        if product.node.op_type == "MatMul" and product.node.name not in exclude and uses[product.weight] == 1:
            groups[product.tensor].append(product)
    return groups


class _Editor:
    """The edits of a graph that smoothing needs."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._constants = {value.name: value for value in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output}
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._uses.update(value.name for value in graph.output)

    def array(self, name: str) -> NDArray[np.float32]:
        """Return the values of an initializer."""
        import onnx

        return np.asarray(onnx.numpy_helper.to_array(self._constants[name]))

    def replace(self, name: str, array: NDArray[np.float32]) -> None:
        """Replace the values of an initializer."""
        import onnx

        self._constants[name].CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), name))

    def fold(self, tensor: str, group: list[Product], factors: NDArray[np.float32]) -> bool:
        """Scale a tensor in the layer normalization that computes it; False if that would change anything else."""
        if self._uses[tensor] != len(group):
            return False
        names = self._scale_and_bias(tensor)
        if not names or any(name not in self._constants or self._uses[name] != 1 for name in names):
            return False
        arrays = [self.array(name) for name in names]
        if any(array.shape != factors.shape for array in arrays):
            return False
        for name, array in zip(names, arrays, strict=True):
            self.replace(name, array * factors)
        return True

    def _scale_and_bias(self, tensor: str) -> list[str]:
        """Return the inputs that hold scale and bias of a layer normalization, one node or several; else none."""
        last = self._producers.get(tensor)
        if last is None:
            return []
        if last.op_type == "LayerNormalization":
            return [name for name in last.input[1:] if name]
        if last.op_type != "Add":
            return []
        for scaled, bias in (last.input, reversed(last.input)):
            product = self._producers.get(scaled)
            if product is not None and product.op_type == "Mul" and self._uses[scaled] == 1:
                scales = [name for name in product.input if name in self._constants]
                if len(scales) == 1:
                    return [scales[0], bias]
        return []

    def multiply(self, tensor: str, group: list[Product], factors: NDArray[np.float32]) -> None:
        """Scale a tensor for some products only, in a new node before the first of them."""
        import onnx

        name, scaled = f"{tensor}_smooth_factors", f"{tensor}_smooth"
        self._graph.initializer.append(onnx.numpy_helper.from_array(factors, name))
        first = min(list(self._graph.node).index(product.node) for product in group)
        self._graph.node.insert(first, onnx.helper.make_node("Mul", [tensor, name], [scaled], name=scaled))
        for product in group:
            product.node.input[0] = scaled
