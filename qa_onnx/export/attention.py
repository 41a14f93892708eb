"""A graph -> its products of attention: queries x keys, and probabilities x values.

Both sides of such a product are computed from the text. Exports split them into heads on the way: Reshape and
Transpose move the values, which a scale for the whole tensor does not notice. So what is quantized is the tensor
before them, where it is computed: that was faster in OpenVINO than after them.

Left out: the products of DeBERTa's relative positions, one side of which holds weights, the same for every text.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

_MOVES = {"Reshape", "Squeeze", "Transpose", "Unsqueeze"}  # the values of their first input, to other places


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two sides of an attention product, and the place to quantize it.

    Attributes:
        tensor: name of what is to be quantized.
        reader: the ONNX node that reads it on the way to the product, or the product itself.
        index: of the tensor among the inputs of the reader.
        is_right: whether it is the right side of the product: keys or values.
        is_softmax: whether it is the left side and comes out of a Softmax: probabilities, from 0 to 1.
    """

    tensor: str
    reader: Any
    index: int
    is_right: bool
    is_softmax: bool


@dataclass(frozen=True, slots=True)
class AttentionProduct:
    """A MatMul whose two sides are computed from the text.

    Attributes:
        node: the ONNX node.
        sides: the left one and the right one.
    """

    node: Any
    sides: tuple[Side, Side]


def attention_products(model: Any, exclude: Collection[str] = ()) -> list[AttentionProduct]:
    """Return the attention products of a float32 ONNX model, in the order of the graph.

    Args:
        model: an ONNX model.
        exclude: names of nodes to leave out.
    """
    graph = _Graph(model.graph)
    return [
        AttentionProduct(node, (graph.side(node, 0), graph.side(node, 1)))
        for node in model.graph.node
        if node.op_type == "MatMul" and node.name not in exclude and graph.text.issuperset(node.input)
    ]


class _Graph:
    """What makes and what reads each tensor of a graph."""

    def __init__(self, graph: Any) -> None:
        self.text = {value.name for value in graph.input} - {value.name for value in graph.initializer}
        self._producers: dict[str, Any] = {}
        self._readers: dict[str, int] = defaultdict(int)
        for value in graph.output:
            self._readers[value.name] += 1
        for node in graph.node:
            self._producers |= dict.fromkeys(node.output, node)
            if node.op_type == "Shape":  # it reads no values: quantized or not, the shape is the same
                continue
            if not self.text.isdisjoint(node.input):
                self.text.update(node.output)
            for name in node.input:
                self._readers[name] += 1

    def side(self, product: Any, index: int) -> Side:
        """Walk back from a side of a product, over moves that nothing else reads, to what is to be quantized."""
        tensor, reader, is_right = product.input[index], product, index == 1
        while self._operator(tensor) in _MOVES and self._readers[tensor] == 1:
            reader, index = self._producers[tensor], 0
            tensor = reader.input[0]
        return Side(tensor, reader, index, is_right, not is_right and self._is_softmax(tensor))

    def _is_softmax(self, tensor: str) -> bool:
        """Tell whether a tensor holds the values of a Softmax, perhaps moved."""
        while self._operator(tensor) in {*_MOVES, "Cast"}:
            tensor = self._producers[tensor].input[0]
        return self._operator(tensor) == "Softmax"

    def _operator(self, tensor: str) -> str:
        return self._producers[tensor].op_type if tensor in self._producers else ""
