"""Graphs that may not reach an engine, each with the words that the refusal must have; made here, byte by byte."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Sample: TypeAlias = tuple[bytes, str]
_F, _I = TensorProto.FLOAT, TensorProto.INT64
DATA = "weights-0123456789abcdef.data"
DATA_SIZE = 64


def value(name: str, kind: int = _I, shape: Sequence[str | int] | None = ("rows", "tokens")) -> Any:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def ints(name: str, *values: int) -> Any:
    """A tensor of whole numbers."""
    return numpy_helper.from_array(np.array(values, np.int64), name)


def floats(name: str, *shape: int) -> Any:
    """A tensor of zeros."""
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def node(operator: str, reads: Sequence[str] = ("input_ids",), makes: Sequence[str] = ("x",), **rest: Any) -> Any:
    """A node named `bad`."""
    return helper.make_node(operator, list(reads), list(makes), name="bad", **rest)


def model(*nodes: Any, tensors: Sequence[Any] = (), change: Callable[[Any], object] | None = None) -> bytes:
    """A question answering graph, whose logits are the ids, with something added to it."""
    logits = [
        helper.make_node("Cast", ["input_ids"], [name], name=name, to=_F)
        for name in ("start_logits", "end_logits")
    ]
    ends = [value("start_logits", _F), value("end_logits", _F)]
    graph = helper.make_graph([*nodes, *logits], "graph", [value("input_ids")], ends, list(tensors))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if change is not None:
        change(made)
    return bytes(made.SerializeToString())


def changed(change: Callable[[Any], object]) -> bytes:
    """The graph after a change."""
    return model(change=change)


def outside(location: str, *, name: str = "w", dims: Sequence[int] = (2,), **entries: str | int) -> Any:
    """A tensor whose elements are said to lie in a file."""
    tensor = TensorProto(name=name, data_type=_F, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(text))
    return tensor


def with_entry(tensor: Any, key: str, text: str) -> Any:
    """The tensor with one more entry."""
    tensor.external_data.add(key=key, value=text)
    return tensor


def edited(tensor: Any, **fields: Any) -> Any:
    """A tensor after fields were set."""
    for name, content in fields.items():
        if isinstance(content, (list, tuple)):
            del getattr(tensor, name)[:]
            getattr(tensor, name).extend(content)
        else:
            setattr(tensor, name, content)
    return tensor


def branch(*nodes: Any, gives: str = "b", tensors: Sequence[Any] = ()) -> Any:
    """A graph inside of a node."""
    return helper.make_graph(list(nodes), "branch", [], [value(gives)], list(tensors))


def choice(then: Any, **rest: Any) -> Any:
    """An `If` whose branches are the same."""
    return node("If", ["condition"], ["x"], then_branch=then, else_branch=then, **rest)


CONDITION = [
    helper.make_node("Size", ["input_ids"], ["size"]),
    helper.make_node("Equal", ["size", "one"], ["condition"]),
]


def branching(inner: Any) -> bytes:
    """A graph with a branch that depends on its input."""
    return model(*CONDITION, choice(inner), tensors=[ints("one", 1)])


def _function(name: str, *nodes: Any) -> Callable[[Any], object]:
    made = helper.make_function("local", name, ["a"], ["b"], list(nodes), [helper.make_opsetid("", 17)])
    return lambda one: one.functions.append(made)


def _sparse(one: Any) -> None:
    one.graph.sparse_initializer.add(dims=[2], values=outside("secret"), indices=ints("", 0, 1))


def _doubling() -> bytes:
    names = [f"c{number}" for number in range(41)]
    nodes = [helper.make_node("Concat", [one, one], [other], axis=0) for one, other in itertools.pairwise(names)]
    return model(*nodes, tensors=[floats("c0", 4)])


def _outer(operator: str, rows: int = 20_000) -> bytes:
    return model(node(operator, ["a", "b"]), tensors=[floats("a", rows, 1), floats("b", 1, rows)])


def _many_small() -> bytes:
    shape = ints("shape", 1 << 20)
    nodes = [helper.make_node("ConstantOfShape", ["shape"], [f"x{number}"]) for number in range(80)]
    return model(*nodes, tensors=[shape])


def _sized(operator: str, *tensors: Any, **rest: Any) -> bytes:
    return model(node(operator, [tensor.name for tensor in tensors], **rest), tensors=tensors)


_BIG = 1 << 40
_IDENTITY = helper.make_node("Identity", ["size"], ["b"])
_LOOP_BODY = helper.make_graph(
    [helper.make_node("Identity", ["go"], ["on"])],
    "body",
    [value("i", _I, []), value("go", TensorProto.BOOL, [])],
    [value("on", TensorProto.BOOL, [])],
)
_SPARSE = helper.make_sparse_tensor(floats("", 1), ints("", 0), [4])

# Weights in places that nobody vouches for
OUTSIDE: dict[str, Sample] = {
    "absolute path": (
        model(tensors=[outside("/etc/passwd")]),
        "tensor 'w' lies outside of the file, in '/etc/pass",
    ),
    "parent folder": (model(tensors=[outside("../secret")]), "outside of the file, in '../secret', which may not"),
    "same folder": (model(tensors=[outside("secret")]), "outside of the file, in 'secret', which may not be read"),
    "memory": (model(tensors=[outside("*/_ORT_MEM_ADDR_/*", offset=4096, length=8)]), "which may not be read"),
    "no place": (model(tensors=[edited(outside(""), external_data=[])]), "outside of the file, in ''"),
    "in a constant": (
        model(node("Constant", (), value=outside("secret"))),
        "its constant outside of the file, in 's",
    ),
    "in a branch": (
        branching(branch(helper.make_node("Constant", [], ["b"], value=outside("secret")))),
        "has its constant outside of the file",
    ),
    "weights of a branch": (
        branching(branch(_IDENTITY, tensors=[outside("x")])),
        "has weights or inputs in a branch",
    ),
    "in a function": (
        changed(_function("f", helper.make_node("Constant", [], ["b"], value=outside("secret")))),
        "it has functions, which a question answering graph does not need",
    ),
    "sparse": (changed(_sparse), "it has sparse tensors"),
    "sparse constant": (model(node("Constant", (), sparse_value=_SPARSE)), "attribute 'sparse_value' has a kind"),
    "inside and outside": (
        model(tensors=[edited(outside(DATA), raw_data=bytes(8))]),
        "has elements in the file and outside of it",
    ),
    "other name": (model(tensors=[outside("weights-0.data")]), "in 'weights-0.data', which may not be read"),
    "behind the end": (
        model(tensors=[outside(DATA, offset=60, length=8)]),
        "has 8 bytes, but lies in 8 bytes from 60 on of 'weights-0123456789abcdef.data', which has 64",
    ),
    "other length": (model(tensors=[outside(DATA, length=9)]), "has 8 bytes, but lies in 9 bytes"),
    "larger than the file": (model(tensors=[outside(DATA, dims=[1 << 40])]), "has 4,398,046,511,104 bytes, but"),
    "offset below 0": (
        model(tensors=[outside(DATA, offset=-8)]),
        "the offset of its weights is '-8', which is no",
    ),
    "offset without end": (model(tensors=[outside(DATA, offset="9" * 400)]), "which is no number"),
    "unknown entry": (model(tensors=[outside(DATA, basepath="/etc")]), "says in an unknown way where"),
    "entry twice": (
        model(tensors=[with_entry(outside(DATA), "location", DATA)]),
        "in an unknown way where in 'wei",
    ),
    "one place for all": (
        model(tensors=[outside(DATA, name=f"w{number}", dims=[16]) for number in range(9)]),
        "its tensors have more than the 64 bytes of",
    ),
}

# Operators
OPERATORS: dict[str, Sample] = {
    "loop": (
        model(node("Loop", ["", "one"], [], body=_LOOP_BODY), tensors=[ints("one", 1)]),
        "node 'bad' ('Loop') is an operator that question answering graphs do not need",
    ),
    "scan": (model(node("Scan", body=_LOOP_BODY, num_scan_inputs=1)), "('Scan') is an operator that question"),
    "random": (model(node("RandomNormal", (), shape=[1 << 40])), "('RandomNormal') is an operator"),
    "text": (model(node("StringNormalizer")), "('StringNormalizer') is an operator"),
    "sequence": (model(node("SequenceConstruct")), "('SequenceConstruct') is an operator"),
    "own domain": (model(node("Add", domain="evil")), "('Add') is an operator of the domain 'evil'"),
    "trained trees": (model(node("TreeEnsembleRegressor", domain="ai.onnx.ml")), "of the domain 'ai.onnx.ml'"),
    "fused": (model(node("WordConvEmbedding", domain="com.microsoft")), "of the domain 'com.microsoft'"),
    "engine's context": (model(node("EPContext", (), domain="com.microsoft")), "('EPContext') is an operator"),
    "function": (changed(_function("f", _IDENTITY)), "it has functions"),
    "recursive function": (changed(_function("f", node("f", ["a"], ["b"], domain="local"))), "it has functions"),
    "If in If": (branching(branch(choice(branch(_IDENTITY)), gives="x")), "has node 'bad' ('If') in a branch"),
    "work in a branch": (
        branching(branch(helper.make_node("Exp", ["size"], ["b"]))),
        "node 'bad' ('If') has a node 'Exp' in a branch, where only Constant, Identity, Squeeze may be",
    ),
    "long branch": (
        branching(branch(*(helper.make_node("Identity", ["size"], [f"b{n}"]) for n in range(9)), gives="b0")),
        "has 9 nodes in a branch; 8 is the limit",
    ),
    "constant branch": (
        branching(branch(helper.make_node("Constant", [], ["b"], value_int=1))),
        "gives a constant, or nothing, from a branch",
    ),
    "empty branch": (branching(branch(gives="nothing")), "gives a constant, or nothing, from a branch"),
    "graph elsewhere": (
        model(node("Identity", body=branch())),
        "has a graph in its attribute 'body', which only If",
    ),
    "many graphs": (
        model(helper.make_node("Identity", ["input_ids"], ["x"], bodies=[branch(), branch()])),
        "attribute 'bodies' has a kind of value that such a model does not need",
    ),
    "type": (model(node("Identity", type=onnx.TypeProto())), "attribute 'type' has a kind of value"),
    "of a function": (
        changed(lambda one: one.graph.node[0].attribute.add(name="x", ref_attr_name="y")),
        "attribute 'x' has a kind of value",
    ),
    "attribute twice": (
        changed(lambda one: one.graph.node[0].attribute.append(one.graph.node[0].attribute[0])),
        "has two attributes of one name",
    ),
    "overload": (changed(lambda one: setattr(one.graph.node[0], "overload", "x")), "has an overload"),
    "training": (changed(lambda one: one.training_info.add()), "it has instructions for training"),
    "devices": (changed(lambda one: one.configuration.add(name="x", num_devices=2)), "it has devices of several"),
    "many nodes": (
        changed(lambda one: one.graph.node.extend([node("Identity")] * 100_001)),
        "it has 100,003 nodes; 100,000 is the limit",
    ),
    "out of order": (
        changed(lambda one: one.graph.node.insert(0, node("Identity", ["later"]))),
        "node 'bad' ('Identity') reads 'later', which nothing before it makes",
    ),
}

# Constants that an engine would compute
CONSTANTS: dict[str, Sample] = {
    "shape of terabytes": (
        _sized("ConstantOfShape", ints("s", _BIG)),
        "('ConstantOfShape') makes a constant of 1.1e+12",
    ),
    "many axes": (_sized("ConstantOfShape", ints("s", *[4096] * 9)), "makes a constant of 3.25e+32 elements"),
    "many of them": (
        _many_small(),
        "a node 'ConstantOfShape' makes a constant of 1.05e+06 elements or so, and with",
    ),
    "expanded": (_sized("Expand", floats("a", 1), ints("s", _BIG)), "('Expand') makes a constant of 1.1e+12"),
    "expanded input": (
        model(node("Expand", ["input_ids", "s"]), tensors=[ints("s", _BIG, 1, 1)]),
        "('Expand') makes a constant of 1.1e+12",
    ),
    "tiled": (_sized("Tile", floats("a", 9), ints("s", _BIG)), "('Tile') makes a constant of 9.9e+12"),
    "range": (
        _sized("Range", ints("a", 0), ints("b", _BIG), ints("c", 1)),
        "('Range') makes a constant of 1.1e+12",
    ),
    "endless range": (
        _sized("Range", ints("a", 0), ints("b", 1), ints("c", 0)),
        "counts between constants that are",
    ),
    "range of floats": (_sized("Range", floats("a"), floats("b"), floats("c")), "counts between constants that"),
    "padded": (_sized("Pad", floats("a", 1), ints("s", _BIG, _BIG)), "('Pad') makes a constant of 1.21e+24"),
    "padded as of old": (_sized("Pad", floats("a", 1), pads=[_BIG, 0]), "('Pad') makes a constant of 1.1e+12"),
    "convolution": (
        _sized("Conv", floats("a", 1, 1, 1), floats("w", 1, 1, 1), pads=[_BIG, 0]),
        "('Conv') makes a constant of 1.1e+12",
    ),
    "one hot": (
        _sized("OneHot", ints("i", 0), ints("d", _BIG), floats("v", 2)),
        "('OneHot') makes a constant of 1",
    ),
    "shape of a shape": (
        model(
            helper.make_node("Mul", ["a", "a"], ["s"]),
            node("ConstantOfShape", ["s"]),
            tensors=[ints("a", 1 << 20)],
        ),
        "('ConstantOfShape') has a shape of constants that are not in the file",
    ),
    "broadcast": (_outer("Add"), "('Add') makes a constant of 4e+08 elements"),
    "outer product": (_outer("MatMul"), "('MatMul') makes a constant of 4e+08 elements"),
    "einsum": (_outer("Einsum"), "('Einsum') makes a constant of 4e+08 elements"),
    "gathered": (
        model(node("Gather", ["a", "i"]), tensors=[floats("a", 1, 30_000), ints("i", *[0] * 30_000)]),
        "('Gather') makes a constant of 9e+08 elements",
    ),
    "doubled forty times": (_doubling(), "a node 'Concat' makes a constant of 6.71e+07 elements"),
    "numbers in attributes": (
        model(
            helper.make_node("Constant", [], ["a"], value_floats=[0.0] * 20_000),
            helper.make_node("Unsqueeze", ["a", "axis"], ["b"]),
            node("Mul", ["a", "b"]),
            tensors=[ints("axis", 1)],
        ),
        "('Mul') makes a constant of 4e+08 elements",
    ),
    "text constant": (model(node("Constant", (), value_string="x")), "('Constant') holds no numbers"),
}


def _of_type(kind: int) -> Any:
    return TensorProto(name="w", data_type=kind, dims=[1], raw_data=bytes(16))


def _raw(length: int, *dims: int) -> bytes:
    return model(tensors=[TensorProto(name="w", data_type=_F, dims=dims, raw_data=bytes(length))])


# Tensors
TENSORS: dict[str, Sample] = {
    "too few bytes": (_raw(7, 2), "tensor 'w' of 2 elements has 7 bytes, not 8"),
    "too many bytes": (_raw(9, 2), "tensor 'w' of 2 elements has 9 bytes, not 8"),
    "none": (
        model(tensors=[TensorProto(name="w", data_type=_F, dims=[3, 5])]),
        "of 3 x 5 elements has 0 elements",
    ),
    "below 0": (_raw(8, -2, -1), "tensor 'w' has impossible dimensions: -2, -1"),
    "overflowing": (_raw(0, 1 << 62, 1 << 62, 1 << 62), "has 0 bytes, not 3923"),
    "many dimensions": (_raw(4, *[1] * 17), "tensor 'w' has impossible dimensions"),
    "too few floats": (model(tensors=[edited(_of_type(_F), raw_data=b"", float_data=[])]), "has 0 bytes, not 4"),
    "floats": (
        model(tensors=[TensorProto(name="w", data_type=_F, dims=[2], float_data=[1.0])]),
        "of 2 elements has 1 elements, not 2",
    ),
    "whole numbers": (
        model(tensors=[TensorProto(name="w", data_type=_I, dims=[2], int64_data=[1, -1, 1 << 40])]),
        "of 2 elements has 3 elements, not 2",
    ),
    "other field": (
        model(tensors=[TensorProto(name="w", data_type=_I, dims=[1], int32_data=[1])]),
        "of 1 elements has 0 elements, not 1",
    ),
    "two fields": (
        model(tensors=[TensorProto(name="w", data_type=_F, dims=[1], raw_data=bytes(4), float_data=[1.0])]),
        "of 1 elements has 4 bytes, not 4",
    ),
    "strings": (
        model(tensors=[TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"])]),
        "tensor 'w' has the data type 8, which no weight of such a model has",
    ),
    "complex": (model(tensors=[_of_type(TensorProto.COMPLEX64)]), "has the data type 14"),
    "no type": (model(tensors=[_of_type(0)]), "has the data type 0"),
    "unknown type": (model(tensors=[_of_type(999)]), "has the data type 999"),
    "a segment": (
        changed(lambda one: one.graph.initializer.add(name="w", data_type=1).segment.SetInParent()),
        "impos",
    ),
    "twice": (model(tensors=[floats("w", 1), floats("w", 2)]), "tensor 'w' makes 'w', which is there already"),
    "instead of an input": (model(tensors=[ints("input_ids", 1)]), "makes 'input_ids', which is there already"),
    "made twice": (
        model(node("Identity", makes=["start_logits"])),
        "node 'start_logits' ('Cast') makes 'start_logits', which is there already",
    ),
}


def _input(made: Any) -> Callable[[Any], object]:
    def change(one: Any) -> None:
        one.graph.input[0].CopyFrom(made)

    return change


def _output(made: Any) -> Callable[[Any], object]:
    def change(one: Any) -> None:
        one.graph.output[0].CopyFrom(made)

    return change


def _named(one: Any) -> None:
    one.graph.output[0].name = "nothing"


# Inputs, outputs, versions
ENDS: dict[str, Sample] = {
    "other input": (
        changed(_input(value("text"))),
        "its inputs are 'text'; a question answering graph has input_ids",
    ),
    "one more input": (
        changed(lambda one: one.graph.input.append(value("position_ids"))),
        "'position_ids'; a quest",
    ),
    "no input": (changed(lambda one: one.graph.ClearField("input")), "its inputs are none"),
    "input twice": (changed(lambda one: one.graph.input.append(value("input_ids"))), "'input_ids', 'input_ids'"),
    "float input": (changed(_input(value("input_ids", _F))), "'input_ids' is of the type 1, not int64"),
    "input of three axes": (changed(_input(value("input_ids", _I, "abc"))), "'input_ids' has 3 dimensions, not 2"),
    "input without shape": (changed(_input(value("input_ids", _I, None))), "'input_ids' has 0 dimensions, not 2"),
    "huge input": (
        changed(_input(value("input_ids", _I, [1, _BIG]))),
        "has the shape (1, 1099511627776); 1,048,576",
    ),
    "sequence": (
        changed(_input(helper.make_tensor_sequence_value_info("input_ids", _I, ["a", "b"]))),
        "'input_ids' is of the type 0, not int64",
    ),
    "one output": (
        changed(lambda one: one.graph.output.pop()),
        "it gives 'start_logits'; a question answering graph",
    ),
    "other output": (changed(_named), "it gives 'end_logits', 'nothing'; a question answering graph gives start_"),
    "integer output": (
        changed(_output(value("start_logits", _I))),
        "'start_logits' is of the type 7, not float32 or",
    ),
    "scalar output": (changed(_output(value("start_logits", _F, []))), "'start_logits' has 0 dimensions, not 2"),
    "text as third output": (
        changed(lambda one: one.graph.output.append(helper.make_tensor_sequence_value_info("x", _F, None))),
        "its output 'x' is no tensor",
    ),
    "output of nothing": (changed(lambda one: one.graph.node.pop()), "nothing makes the output 'end_logits'"),
    "future format": (
        changed(lambda one: setattr(one, "ir_version", 99)),
        "its ir_version is 99; 3 to 19 are known",
    ),
    "format below 0": (changed(lambda one: setattr(one, "ir_version", -1)), "its ir_version is -1"),
    "no format": (changed(lambda one: one.ClearField("ir_version")), "it has no graph or no ir_version"),
    "old operators": (changed(lambda one: setattr(one.opset_import[0], "version", 1)), "its opset is 1; 7 to 39"),
    "no operators": (changed(lambda one: one.ClearField("opset_import")), "its opset is 0"),
    "two versions": (
        changed(lambda one: one.opset_import.add(domain="", version=9)),
        "two versions of the operators",
    ),
    "other fused ones": (
        changed(lambda one: setattr(one.opset_import[1], "version", 2)),
        "that of com.microsoft in",
    ),
}

# Bytes
_GOOD = model()
BYTES: dict[str, Sample] = {
    "nothing": (b"", "it has no graph or no ir_version"),
    "text": (b"<html>Not found</html>", "field 7 of type 4 at byte 0 is none of a model"),
    "cut": (_GOOD[:-20], "is cut off"),
    "cut in a number": (_GOOD + b"\x80", f"the integer at byte {len(_GOOD):,} does not end"),
    "number without end": (b"\x08" + b"\x80" * 40, "the integer at byte 1 does not end"),
    "longer": (_GOOD + b"\x00", "field 0 of type 0"),
    "unknown field": (_GOOD + b"\xf8\x07\x01", f"field 127 of type 0 at byte {len(_GOOD):,} is none of a model"),
    "group": (_GOOD + b"\x3b\x3c", "field 7 of type 3"),
    "other type": (_GOOD + b"\x3d\x01\x02\x03\x04", "field 7 of type 5"),
    "two graphs": (_GOOD + b"\x3a\x00", "field 7 of a model is there twice"),
    "length beyond the end": (b"\x08\x08\x3a\xff\xff\xff\xff\x0f", "the model at byte 2 is cut off"),
    "ONNX Runtime's format": (b"\x12\x08xxORTMxx" + _GOOD, "it is in ONNX Runtime's own format"),
    "XML of OpenVINO": (b'<?xml version="1.0"?><net name="x" version="11"></net>', "field 7 of type 4"),
}

SAMPLES: dict[str, Sample] = {
    f"{group}: {name}": sample
    for group, samples in {
        "outside": OUTSIDE,
        "operators": OPERATORS,
        "constants": CONSTANTS,
        "tensors": TENSORS,
        "ends": ENDS,
        "bytes": BYTES,
    }.items()
    for name, sample in samples.items()
}
