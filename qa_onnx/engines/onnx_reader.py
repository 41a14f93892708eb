"""Bytes of an ONNX file -> its graph, without the weights: they are skipped by their length.

Only what the rules of graph_rules.py need is read.
Left out: training, functions, sparse tensors, sequences and maps: a message that has them is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.engines import onnx_messages as onnx
from qa_onnx.engines.wire import WireError, count_integers, integers, parse, signed
from qa_onnx.errors import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_DIMS = 16
_MOST_VALUES = 64  # of a tensor that may be a shape; the values of larger ones are not read


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor without its elements.

    Attributes:
        name: may be empty.
        dims: its shape.
        size: bytes of its elements.
        external: the entries that say where its elements lie, if they are not in the file.
        values: the elements of a small tensor of integers in the file; None: of another one.
    """

    name: str
    dims: tuple[int, ...]
    size: int
    external: tuple[tuple[str, str], ...]
    values: tuple[int, ...] | None

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.dims)


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a node: numbers, a tensor or a graph; a text has none. `floats` is how many it has."""

    name: str
    integer: int | None
    integers: tuple[int, ...] | None
    floats: int
    tensor: Tensor | None
    graph: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a graph."""

    operator: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[Attribute, ...]

    def __str__(self) -> str:
        return (
            f"node {quoted(self.name)} ({quoted(self.operator)})"
            if self.name
            else f"a node {quoted(self.operator)}"
        )

    def attribute(self, name: str) -> Attribute | None:
        """Return an attribute; None: the node does not have it."""
        return next((one for one in self.attributes if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of the model: its element type, and its dimensions, None for those without a number."""

    name: str
    kind: int
    dims: tuple[int | None, ...] | None


class OnnxFile:
    """The bytes of an ONNX file, and readers of its parts.

    Args:
        data: the file.

    Raises:
        WireError: it is not an ONNX file.

    Attributes:
        ir_version: of the format.
        opsets: version of each set of operators, by domain.
        graph: the first and last byte of the main graph.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        model = parse(onnx.MODEL, data, 0, len(data))
        for number, what in (
            (20, "instructions for training"),
            (25, "functions"),
            (26, "devices of several nodes"),
        ):
            if number in model:
                raise WireError(f"it has {what}, which a question answering graph does not need")
        if 7 not in model or 1 not in model:
            raise WireError("it has no graph or no ir_version")
        self.ir_version = signed(model[1])
        self.graph: tuple[int, int] = model[7]
        self.opsets: dict[str, int] = {}
        for span in model.get(8, ()):
            entry = parse(onnx.OPSET, data, *span)
            domain = self._text(entry.get(1))
            if domain in self.opsets:
                raise WireError(f"it names two versions of the operators of {quoted(domain)}")
            self.opsets[domain] = signed(entry.get(2, 0))

    def parts(self, graph: tuple[int, int]) -> GraphParts:
        """Return the parts of a graph.

        Raises:
            WireError: it is damaged, or has sparse tensors.
        """
        found = parse(onnx.GRAPH, self._data, *graph)
        if 15 in found:
            raise WireError("it has sparse tensors, which a question answering graph does not need")
        return GraphParts(self, found)

    def node(self, span: tuple[int, int]) -> Node:
        """Return a node."""
        found = parse(onnx.NODE, self._data, *span)
        if 8 in found:
            raise WireError(f"node {quoted(self._text(found.get(3)))} has an overload, which only functions have")
        return Node(
            operator=self._text(found.get(4)),
            domain=self._text(found.get(7)),
            name=self._text(found.get(3)),
            inputs=tuple(self._text(one) for one in found.get(1, ())),
            outputs=tuple(self._text(one) for one in found.get(2, ())),
            attributes=tuple(self._attribute(one) for one in found.get(5, ())),
        )

    def tensor(self, span: tuple[int, int]) -> Tensor:
        """Return a tensor; WireError: its elements are not as many as its dimensions say."""
        found = parse(onnx.TENSOR, self._data, *span)
        name = self._text(found.get(8))
        dims = tuple(self._numbers(found.get(1, ())))
        kind = signed(found.get(2, 0))
        if kind not in onnx.TYPES:
            raise WireError(f"tensor {quoted(name)} has the data type {kind}, which no weight of such a model has")
        if len(dims) > _MOST_DIMS or min(dims, default=0) < 0 or 3 in found:
            raise WireError(f"tensor {quoted(name)} has impossible dimensions: {', '.join(map(str, dims[:9]))}")
        bits, field = onnx.TYPES[kind]
        size = (math.prod(dims) * bits + 7) // 8
        external = tuple(self._entry(one) for one in found.get(13, ()))
        if external or found.get(14, 0):
            if found.keys() & onnx.PLACES:
                raise WireError(f"tensor {quoted(name)} has elements in the file and outside of it")
            return Tensor(name, dims, size, external or (("location", ""),), None)
        self._check_elements(found, name, dims, bits, field)
        values = None
        if kind in {onnx.INT32, onnx.INT64} and math.prod(dims) <= _MOST_VALUES:
            values = self._values(found, field, bits // 8)
        return Tensor(name, dims, size, (), values)

    def value(self, span: tuple[int, int]) -> Value:
        """Return an input or output; its kind is 0 unless it is a tensor."""
        found = parse(onnx.VALUE, self._data, *span)
        name = self._text(found.get(1))
        kinds = parse(onnx.TYPE, self._data, *found[2]) if 2 in found else {}
        if kinds.keys() - {6} != {1}:  # 6: a note on what the numbers mean
            return Value(name, 0, None)
        tensor = parse(onnx.TENSOR_TYPE, self._data, *kinds[1])
        if 2 not in tensor:
            return Value(name, tensor.get(1, 0), None)
        dims = []
        for one in parse(onnx.SHAPE, self._data, *tensor[2]).get(1, ()):
            dimension = parse(onnx.DIMENSION, self._data, *one)
            dims.append(signed(dimension[1]) if 1 in dimension else None)
        return Value(name, tensor.get(1, 0), tuple(dims))

    def _attribute(self, span: tuple[int, int]) -> Attribute:
        found = parse(onnx.ATTRIBUTE, self._data, *span)
        name = self._text(found.get(1))
        if unknown := found.keys() & {10, 11, 14, 15, 21, 22, 23}:
            raise WireError(
                f"attribute {quoted(name)} has a kind of value that such a model does not need: {unknown}"
            )
        return Attribute(
            name,
            signed(found[3]) if 3 in found else None,
            tuple(self._numbers(found[8])) if 8 in found else None,
            self._count(found.get(7, ()), 4) + (2 in found),
            self.tensor(found[5]) if 5 in found else None,
            found.get(6),
        )

    def _check_elements(
        self, found: dict[int, Any], name: str, dims: tuple[int, ...], bits: int, field: int
    ) -> None:
        """Raise a WireError unless a tensor has all its elements, in one place."""
        wanted = math.prod(dims)
        places = found.keys() & onnx.PLACES
        if onnx.RAW in places:
            start, end = found[onnx.RAW]
            unit, count, wanted = "bytes", end - start, (wanted * bits + 7) // 8
        else:
            unit, count = "elements", self._count(found.get(field, ()), field)
            if bits == 4:  # two in a number
                wanted = (wanted + 1) // 2
        if count != wanted or places - {onnx.RAW if onnx.RAW in places else field}:
            shape = " x ".join(map(str, dims)) or "one"
            raise WireError(f"tensor {quoted(name)} of {shape} elements has {count} {unit}, not {wanted}")

    def _count(self, spans: list[Any], field: int) -> int:
        """Return how many numbers a repeated field holds."""
        width = {4: 4, onnx.DOUBLE_DATA: 8}.get(field)
        count = 0
        for span in spans:
            if not isinstance(span, tuple):
                count += 1
            elif width is None:
                count += count_integers(self._data, *span)
            else:
                count += (span[1] - span[0]) // width
        return count

    def _values(self, found: dict[int, Any], field: int, width: int) -> tuple[int, ...]:
        if onnx.RAW not in found:
            return tuple(self._numbers(found.get(field, ())))
        start, end = found[onnx.RAW]
        raw = self._data[start:end]
        return tuple(
            int.from_bytes(raw[at : at + width], "little", signed=True) for at in range(0, len(raw), width)
        )

    def _numbers(self, values: Any) -> Iterator[int]:
        """Yield the integers of a repeated field, packed or not."""
        for value in values:
            if isinstance(value, tuple):
                yield from integers(self._data, *value)
            else:
                yield signed(value)

    def _entry(self, span: tuple[int, int]) -> tuple[str, str]:
        found = parse(onnx.ENTRY, self._data, *span)
        return self._text(found.get(1)), self._text(found.get(2))

    def _text(self, span: tuple[int, int] | None) -> str:
        return "" if span is None else self._data[span[0] : span[1]].decode("utf-8", "backslashreplace")


class GraphParts:
    """The parts of a graph, read one after the other."""

    def __init__(self, file: OnnxFile, found: dict[int, Any]) -> None:
        self._file, self._found = file, found

    def tensors(self) -> Iterator[Tensor]:
        """Yield the weights."""
        return map(self._file.tensor, self._found.get(5, ()))

    def nodes(self) -> Iterator[Node]:
        """Yield the nodes, in the order of the file."""
        return map(self._file.node, self._found.get(1, ()))

    def inputs(self) -> Iterator[Value]:
        """Yield the inputs."""
        return map(self._file.value, self._found.get(11, ()))

    def outputs(self) -> Iterator[Value]:
        """Yield the outputs."""
        return map(self._file.value, self._found.get(12, ()))

    @property
    def size(self) -> int:
        """How many nodes it has."""
        return len(self._found.get(1, ()))
