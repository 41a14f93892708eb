"""Shapes of constants -> the shape of what a node computes from them, as far as a bound needs it.

A dimension may be an upper bound: a part that is cut out of a tensor has its dimensions at most.
Left out: operators whose results are no larger than the product of what they read, for which no shape is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from qa_onnx.engines.operators import BROADCAST, SAME_SHAPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qa_onnx.engines.onnx_reader import Node, Tensor

Dims: TypeAlias = tuple[int, ...]

_MOST_VALUES = 64


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor that depends on no input.

    Attributes:
        elements: how many it has at most.
        dims: its shape; None: unknown.
        values: its elements if they are few whole numbers; None: unknown.
        exact: whether the dimensions are no upper bounds.
    """

    elements: int
    dims: Dims | None = None
    values: tuple[int, ...] | None = None
    exact: bool = True

    @classmethod
    def of(cls, tensor: Tensor) -> Constant:
        """Return the constant that a tensor of the file is."""
        return cls(tensor.elements, tensor.dims, tensor.values)


def few(count: int) -> bool:
    """Tell whether so many values may be a shape."""
    return count <= _MOST_VALUES


def shape_of(node: Node, inputs: Sequence[Constant]) -> Dims | None:
    """Return the shape of a node's first result; None: no rule gives it."""
    shapes = [one.dims for one in inputs if one.dims is not None]
    rule = _RULES.get(node.operator)
    return rule(node, inputs, shapes) if rule and shapes and len(shapes) == len(inputs) else None


def broadcast(shapes: Sequence[Dims]) -> Dims:
    """Return the shape that several shapes broadcast to; an engine refuses those that do not fit."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(map(max, zip(*padded, strict=True)))


def _first(_node: Node, _inputs: Sequence[Constant], shapes: Sequence[Dims]) -> Dims:
    return shapes[0]


def _broadcast(_node: Node, _inputs: Sequence[Constant], shapes: Sequence[Dims]) -> Dims:
    return broadcast(shapes)


def _product(node: Node, _inputs: Sequence[Constant], shapes: Sequence[Dims]) -> Dims | None:
    """Return the shape of a product of matrices."""
    position = 3 if node.operator == "QLinearMatMul" else 1
    first, second = shapes[0], shapes[position] if position < len(shapes) else ()
    if min(len(first), len(second)) < 2:
        return None
    return (*broadcast((first[:-2], second[:-2])), first[-2], second[-1])


def _reshape(_node: Node, inputs: Sequence[Constant], shapes: Sequence[Dims]) -> Dims | None:
    """Return the shape that `Reshape` gives: 0 keeps a dimension, and -1 takes what is left."""
    wanted = inputs[1].values if len(inputs) > 1 else None
    if wanted is None:
        return None
    kept = [shapes[0][at] if size == 0 and at < len(shapes[0]) else size for at, size in enumerate(wanted)]
    rest = math.prod(size for size in kept if size > 0)
    return tuple(-(-inputs[0].elements // max(1, rest)) if size < 0 else size for size in kept)


def _expand(_node: Node, inputs: Sequence[Constant], shapes: Sequence[Dims]) -> Dims | None:
    values = inputs[1].values if len(inputs) > 1 else None
    return None if values is None else broadcast((shapes[0], values))


def _unsqueeze(node: Node, inputs: Sequence[Constant], shapes: Sequence[Dims]) -> Dims | None:
    given = node.attribute("axes")
    axes = given.integers if given else inputs[1].values if len(inputs) > 1 else None
    if axes is None:
        return None
    rank = len(shapes[0]) + len(axes)
    new = {axis % rank for axis in axes}
    rest = iter(shapes[0])
    return tuple(1 if at in new else next(rest, 1) for at in range(rank))


def _transpose(node: Node, _inputs: Sequence[Constant], shapes: Sequence[Dims]) -> Dims | None:
    [dims, *_], given = shapes, node.attribute("perm")
    order = given.integers if given else None
    if order is None:
        return dims[::-1]
    return tuple(dims[at] for at in order) if sorted(order) == list(range(len(dims))) else None


def _gather(node: Node, _inputs: Sequence[Constant], shapes: Sequence[Dims]) -> Dims | None:
    axis = _axis(node, shapes[0])
    return None if axis is None or len(shapes) != 2 else (*shapes[0][:axis], *shapes[1], *shapes[0][axis + 1 :])


def _concat(node: Node, _inputs: Sequence[Constant], shapes: Sequence[Dims]) -> Dims | None:
    axis = _axis(node, shapes[0])
    if axis is None or len({len(shape) for shape in shapes}) > 1:
        return None
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _axis(node: Node, dims: Dims) -> int | None:
    """Return the axis that a node names, 0 if it names none; None: there is no such axis."""
    given = node.attribute("axis")
    axis = (given.integer if given else None) or 0
    return axis % len(dims) if -len(dims) <= axis < len(dims) else None


_RULES: Mapping[str, Callable[[Node, Sequence[Constant], Sequence[Dims]], Dims | None]] = {
    **dict.fromkeys((*SAME_SHAPE, "Slice", "Split"), _first),
    **dict.fromkeys(BROADCAST, _broadcast),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), _product),
    "Reshape": _reshape,
    "Expand": _expand,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Gather": _gather,
    "Concat": _concat,
}
