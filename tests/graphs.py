"""Small ONNX graphs, as untrusted ones may be: with outputs of any kind, or runs that go on for ever."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx, to make graphs")

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
node = onnx.helper.make_node
_NAMES = ("start_logits", "end_logits")


@dataclass(frozen=True)
class Unchecked:
    """A graph that an engine gets without the check that would refuse it, to see what its runs do."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @contextmanager
    def open(self) -> Iterator[bytes | Path]:
        yield self.path.read_bytes()


def constant(name: str, value: Any, kind: Any = np.int64) -> Any:
    """An initializer."""
    return onnx.numpy_helper.from_array(np.array(value, kind), name)


def write(path: Path, nodes: Sequence[Any], constants: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> Path:
    """Write a graph of the inputs input_ids and attention_mask.

    Args:
        path: of the file.
        nodes: in order; "ids" is the product of both inputs as float.
        constants: initializers.
        outputs: declarations of start_logits and end_logits; none: float (B, T) each.
    """
    inputs = [value(name, INT64) for name in ("input_ids", "attention_mask")]
    first = [
        node("Mul", ["input_ids", "attention_mask"], ["product"]),
        node("Cast", ["product"], ["ids"], to=FLOAT),
    ]
    declared = [*outputs] or [value(name, FLOAT) for name in _NAMES]
    graph = onnx.helper.make_graph([*first, *nodes], "graph", inputs, declared, [*constants])
    opset = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
    return path


def value(name: str, kind: int, shape: Sequence[str] | None = ("B", "T")) -> Any:
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def _ends(logits: str) -> list[Any]:
    return [node("Identity", [logits], ["start_logits"]), node("Neg", [logits], ["end_logits"])]


def _counted(token: int, count: int) -> tuple[list[Any], list[Any]]:
    """Nodes and constants of "times": `count` where the batch holds the token, else 0."""
    nodes = [
        node("Equal", ["input_ids", "token"], ["equal"]),
        node("Cast", ["equal"], ["ones"], to=INT64),
        node("ReduceMax", ["ones"], ["any"], keepdims=0),
        node("Mul", ["any", "count"], ["times"]),
    ]
    return nodes, [constant("token", token), constant("count", count)]


def endless_loop(path: Path, token: int) -> Path:
    """A graph with a loop of 10^15 rounds for texts that hold a token."""
    nodes, constants = _counted(token, 10**15)
    steps = [node("Identity", ["go"], ["go_on"]), node("Sin", ["x"], ["y"])]
    inputs = [value("round", INT64, []), value("go", BOOL, []), value("x", FLOAT, None)]
    body = onnx.helper.make_graph(steps, "body", inputs, [value("go_on", BOOL, []), value("y", FLOAT, None)])
    loop = node("Loop", ["times", "yes", "ids"], ["last"], body=body)
    return write(path, [*nodes, loop, *_ends("last")], [*constants, constant("yes", value=True, kind=bool)])


def long_chain(path: Path, token: int) -> Path:
    """A graph with 400 products of matrices of 2,000 x 2,000, minutes of work, for texts that hold a token."""
    nodes, constants = _counted(token, 2000)
    nodes += [
        node("Add", ["times", "one"], ["side"]),
        node("Concat", ["side", "side"], ["shape"], axis=0),
        node("ConstantOfShape", ["shape"], ["m0"], value=onnx.helper.make_tensor("v", FLOAT, [1], [1e-4])),
        *(node("MatMul", [f"m{number}", "m0"], [f"m{number + 1}"]) for number in range(400)),
        node("ReduceMean", ["m400"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Add", ["ids", "nothing"], ["last"]),
    ]
    constants += [constant("one", [1]), constant("zero", 0.0, np.float32)]
    return write(path, [*nodes, *_ends("last")], constants)
