"""Constants of a graph -> a bound on what an engine computes from them while it loads the graph.

Engines compute whatever depends on no input at once. A file of a hundred bytes can hold a constant of terabytes
that way: one number with a shape, or two small tensors that broadcast against each other. So each result of
constants alone gets an upper bound on its elements, and so does a node whose shape is a constant of the file.

Left out: the shapes themselves (constant_shapes.py), and what depends on a graph's inputs, which a run computes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qa_onnx.engines.constant_shapes import Constant, few, shape_of
from qa_onnx.engines.onnx_messages import INT64
from qa_onnx.engines.operators import NOT_MORE, SAME_VALUES
from qa_onnx.engines.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qa_onnx.engines.onnx_reader import Node, Tensor

FREE = 1 << 26  # elements that need no weights of their size: masks, positions, angles
_COPIES = 8  # of all weights: cast, dequantized, transposed, ...
_MOST_DIMS = 16

# Operator -> the input that says how large the result is.
_SIZED_BY = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "OneHot": 1, "Pad": 1}


class Constants:
    """The constants of a graph, noted in the order of its nodes."""

    def __init__(self) -> None:
        self._known: dict[str, Constant] = {}
        self._weights = self._computed = 0

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def weight(self, tensor: Tensor) -> None:
        """Note a tensor of the file."""
        self._weights += tensor.elements
        self._known[tensor.name] = Constant.of(tensor)

    def node(self, node: Node) -> None:
        """Note what a node gives.

        Raises:
            WireError: that is larger than the weights of the file justify.
        """
        known = self._known
        if node.operator == "Constant":
            literal = _literal(node)
            self._weights += literal.elements
            known |= dict.fromkeys(node.outputs, literal)
            return
        names = [name for name in node.inputs if name]
        constants = [known[name] for name in names if name in known]
        growth = _growth(node, known)
        if len(constants) < len(names):
            result = Constant(0 if growth is None else growth)
        else:
            result = _result(node, constants, growth)
            known |= dict.fromkeys(filter(None, node.outputs), result)
            if node.operator == "DynamicQuantizeLinear":  # and a scale and a zero point
                known |= dict.fromkeys(node.outputs[1:], Constant(1, ()))
        self._computed += result.elements
        limit = FREE + _COPIES * self._weights
        if self._computed > limit:
            raise WireError(
                f"{node} makes a constant of {result.elements:.3g} elements or so, and with others the graph "
                f"makes more than {limit:.3g}, which its {self._weights:,} weights do not need"
            )


def _growth(node: Node, known: Mapping[str, Constant]) -> int | None:
    """Return how many elements a constant of the file makes a node give for each of its data; None: none does."""
    if node.operator == "Range":
        limits = [known[name] for name in node.inputs if name in known]
        if len(limits) < 3:
            return None
        start, end, step = (one.values[0] if one.values else None for one in limits)
        if start is None or end is None or not step:
            raise WireError(f"{node} counts between constants that are not whole numbers in the file")
        return max(0, -((start - end) // step))
    pads = node.attribute("pads")
    if pads is not None and pads.integers is not None:  # each is added to a dimension
        return math.prod(1 + abs(value) for value in pads.integers)
    position = _SIZED_BY.get(node.operator, len(node.inputs))
    if position >= len(node.inputs) or node.inputs[position] not in known:
        return None
    values = known[node.inputs[position]].values
    if values is None:
        raise WireError(f"{node} has a shape of constants that are not in the file")
    return math.prod(1 + abs(value) if node.operator == "Pad" else max(1, abs(value)) for value in values)


def _result(node: Node, inputs: Sequence[Constant], growth: int | None) -> Constant:
    """Return the result of a node that reads constants only."""
    operator, first = node.operator, inputs[0] if inputs else Constant(1)
    if operator == "Shape":
        return Constant(_MOST_DIMS, None, first.dims if first.exact and not node.attributes else None)
    dims = shape_of(node, inputs)
    exact = operator not in {"Slice", "Split"} and all(one.exact for one in inputs)
    if operator == "Range" and growth is not None:
        start, _, step = (one.values or (0,) for one in inputs)
        numbers = (start[0] + number * step[0] for number in range(growth))
        return Constant(growth, (growth,), tuple(numbers) if few(growth) else None)
    if growth is not None:
        data = inputs if operator not in _SIZED_BY else inputs[: _SIZED_BY[operator]]
        return Constant(growth * _product(data), dims, exact=exact)
    values = _values(node, inputs)
    if operator in NOT_MORE:
        return Constant(first.elements, dims, values, exact)
    if dims is not None:
        return Constant(math.prod(dims), dims, values, exact)
    most = sum(one.elements for one in inputs) if operator == "Concat" else _product(inputs)
    return Constant(most * (_MOST_DIMS if operator == "NonZero" else 1), None, values)


def _product(constants: Iterable[Constant]) -> int:
    """Return the most elements that an operator without a rule of its own makes of constants."""
    return math.prod(max(1, one.elements) for one in constants)


def _values(node: Node, inputs: Sequence[Constant]) -> tuple[int, ...] | None:
    """Return the numbers that a node gives if they are few, whole, and those that it reads."""
    if node.operator == "Concat":
        parts = [one.values for one in inputs if one.values is not None]
        joined = tuple(value for part in parts for value in part)
        return joined if len(parts) == len(inputs) and few(len(joined)) else None
    to = node.attribute("to")
    keeps = node.operator in SAME_VALUES and (to is None or to.integer == INT64)
    return inputs[0].values if keeps and inputs else None


def _literal(node: Node) -> Constant:
    """Return the constant that a node holds itself."""
    one = node.attributes[0] if len(node.attributes) == 1 else None
    if one is not None and one.tensor is not None:
        return Constant.of(one.tensor)
    if one is not None and one.integer is not None:
        return Constant(1, (), (one.integer,))
    if one is not None and one.integers is not None:
        count = len(one.integers)
        return Constant(count, (count,), one.integers if few(count) else None)
    if one is not None and one.floats:
        return Constant(one.floats, (one.floats,))
    raise WireError(f"{node} holds no numbers")
