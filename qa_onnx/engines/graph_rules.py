"""Bytes of an ONNX file -> an error, unless it is a graph that may reach an engine.

Engines trust a graph: they open the files that it names, run any operator, and compute its constants while they
load it. So these rules are checked before, on the bytes that the engine then gets:

    no weights outside of the file, except in a file that the caller names, inside of its bounds
    only the operators of operators.py; no loop, function, sequence or text; `If` only where torch writes one
    every tensor has as many elements as its shape says; constants are not larger than the weights justify
    the inputs and outputs of a question answering model, in its types and rank

What a run may take is not bounded here: shapes that depend on the inputs are known only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.engines.constants import Constants
from qa_onnx.engines.onnx_messages import FLOAT, FLOAT16, INT64
from qa_onnx.engines.onnx_reader import OnnxFile
from qa_onnx.engines.operators import FUSED, OPERATORS, STANDARD
from qa_onnx.engines.wire import WireError
from qa_onnx.errors import EngineError, quoted
from qa_onnx.session import KNOWN_INPUTS, OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qa_onnx.engines.onnx_reader import GraphParts, Node, Tensor, Value

    FileSize = Callable[[str], int | None]

MOST_BYTES = (1 << 31) - 1  # of an ONNX file: what protocol buffers can hold
_MOST_NODES = 100_000  # DeBERTa's largest has some 10,000
_MOST_VALUES = 64  # inputs or outputs
_MOST_DOMAINS = 64
_IR_VERSIONS = range(3, 20)
_OPSETS = range(7, 40)
_LONGEST_DIM = 1 << 20
# Where torch does not know whether a dimension has one element, it exports `squeeze` as an If with these in it.
_BRANCH = {"Constant", "Identity", "Squeeze"}
_MOST_IN_BRANCH = 8


def check_graph(data: bytes, name: str, *, file_size: FileSize | None = None) -> None:
    """Refuse an ONNX file that may not reach an engine.

    Args:
        data: the whole file.
        name: of the file, for errors.
        file_size: returns the size in bytes of a file with weights beside it, None if there may be no file of that
            name; None: all weights must be in the file.

    Raises:
        EngineError: a rule is broken; the message names the node or tensor.
    """
    if len(data) > MOST_BYTES:
        raise EngineError(f"{name} has {len(data):,} bytes; an ONNX file has at most {MOST_BYTES:,}")
    try:
        if data[4:8] == b"ORTM":  # engines would read it as that, whatever else it is
            raise WireError("it is in ONNX Runtime's own format, which cannot be checked")
        _GraphCheck(OnnxFile(data), file_size).check()
    except WireError as error:
        raise EngineError(f"{name} is refused, and no engine has opened it: {error}") from None


class _GraphCheck:
    """The check of one file."""

    def __init__(self, file: OnnxFile, file_size: FileSize | None) -> None:
        self._file, self._file_size = file, file_size
        self._constants = Constants()
        self._nodes = 0
        self._outside: dict[str, int] = {}  # bytes of weights by file

    def check(self) -> None:
        """Raise a WireError at the first rule that is broken."""
        _check_versions(self._file.ir_version, self._file.opsets)
        graph = self._file.parts(self._file.graph)
        names = _check_ends(graph)
        for tensor in graph.tensors():
            _define(names, tensor.name, f"tensor {quoted(tensor.name)}")
            if tensor.external:
                self._check_outside(tensor)
            self._constants.weight(tensor)
        self._check_nodes(graph, names, inside="")
        if missing := {value.name for value in graph.outputs()} - names:
            raise WireError(f"nothing makes the output {quoted(missing.pop())}")

    def _check_nodes(self, graph: GraphParts, names: set[str], *, inside: str) -> None:
        """Check the nodes of a graph, and add the names of what they make; `inside`: the node that has it."""
        self._nodes += graph.size
        if self._nodes > _MOST_NODES:
            raise WireError(f"it has {self._nodes:,} nodes; {_MOST_NODES:,} is the limit")
        for node in graph.nodes():
            self._check_node(node, inside)
            for name in filter(None, node.inputs):
                if name not in names:
                    raise WireError(f"{node} reads {quoted(name)}, which nothing before it makes")
            if node.operator == "If":
                self._check_branches(node, names)
            self._constants.node(node)
            for name in filter(None, node.outputs):
                _define(names, name, str(node))

    def _check_node(self, node: Node, inside: str) -> None:
        domain = STANDARD if node.domain == "ai.onnx" else node.domain
        if node.operator not in OPERATORS.get(domain, ()):
            of = f" of the domain {quoted(node.domain)}" if domain != STANDARD else ""
            raise WireError(
                f"{node} is an operator{of} that question answering graphs do not need; none but those may run"
            )
        if inside and node.operator not in _BRANCH:
            raise WireError(f"{inside} has {node} in a branch, where only {', '.join(sorted(_BRANCH))} may be")
        if len({one.name for one in node.attributes}) < len(node.attributes):
            raise WireError(f"{node} has two attributes of one name")
        for one in node.attributes:
            if one.graph is not None and (node.operator != "If" or one.name not in {"then_branch", "else_branch"}):
                raise WireError(f"{node} has a graph in its attribute {quoted(one.name)}, which only If may have")
            if one.tensor is not None and one.tensor.external:
                raise WireError(f"{node} has its constant outside of the file, in {_location(one.tensor)}")

    def _check_branches(self, node: Node, names: set[str]) -> None:
        for one in node.attributes:
            if one.graph is None:
                continue
            branch = self._file.parts(one.graph)
            if branch.size > _MOST_IN_BRANCH:
                raise WireError(f"{node} has {branch.size} nodes in a branch; {_MOST_IN_BRANCH} is the limit")
            if next(branch.tensors(), None) or next(branch.inputs(), None):
                raise WireError(f"{node} has weights or inputs in a branch")
            inner = set(names)
            self._check_nodes(branch, inner, inside=str(node))
            for value in branch.outputs():
                if value.name not in inner or value.name in self._constants:
                    raise WireError(f"{node} gives a constant, or nothing, from a branch")

    def _check_outside(self, tensor: Tensor) -> None:
        """Check a tensor whose elements lie in another file."""
        entries = dict(tensor.external)
        place = _location(tensor)
        size = self._file_size(entries.get("location", "")) if self._file_size else None
        if size is None:
            raise WireError(
                f"tensor {quoted(tensor.name)} lies outside of the file, in {place}, which may not be read"
            )
        known = entries.keys() <= {"location", "offset", "length", "checksum"}
        if not known or len(entries) < len(tensor.external):
            raise WireError(f"tensor {quoted(tensor.name)} says in an unknown way where in {place} it lies")
        offset, length = _number(entries, "offset", 0), _number(entries, "length", tensor.size)
        if length != tensor.size or offset + length > size:
            raise WireError(
                f"tensor {quoted(tensor.name)} has {tensor.size:,} bytes, but lies in {length:,} bytes from "
                f"{offset:,} on of {place}, which has {size:,}"
            )
        total = self._outside.get(place, 0) + length
        if total > size:
            raise WireError(f"its tensors have more than the {size:,} bytes of {place}, in which they lie")
        self._outside[place] = total


def _define(names: set[str], name: str, what: str) -> None:
    """Add a name that a graph makes."""
    if name in names or not name:
        raise WireError(f"{what} makes {quoted(name)}, which is there already")
    names.add(name)


def _location(tensor: Tensor) -> str:
    return quoted(dict(tensor.external).get("location", ""))


def _number(entries: Mapping[str, str], key: str, default: int) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise WireError(f"the {key} of its weights is {quoted(text)}, which is no number")
    return int(text)


def _check_versions(ir_version: int, opsets: Mapping[str, int]) -> None:
    if ir_version not in _IR_VERSIONS:
        raise WireError(f"its ir_version is {ir_version}; {_IR_VERSIONS[0]} to {_IR_VERSIONS[-1]} are known")
    opset = max(opsets.get(STANDARD, 0), opsets.get("ai.onnx", 0))
    if opset not in _OPSETS:
        raise WireError(f"its opset is {opset}; {_OPSETS[0]} to {_OPSETS[-1]} are known")
    if opsets.get(FUSED, 1) != 1 or len(opsets) > _MOST_DOMAINS:
        raise WireError(f"it names {len(opsets)} sets of operators, that of {FUSED} in another version than 1")


def _check_ends(graph: GraphParts) -> set[str]:
    """Check the inputs and outputs of the main graph, and return the names of the inputs."""
    inputs, outputs = list(graph.inputs()), list(graph.outputs())
    names = {value.name for value in inputs}
    if "input_ids" not in names or len(names) < len(inputs) or not names.issubset(KNOWN_INPUTS):
        shown_names = ", ".join(quoted(value.name) for value in inputs[:_MOST_VALUES]) or "none"
        raise WireError(
            f"its inputs are {shown_names}; a question answering graph has {KNOWN_INPUTS[0]}, and perhaps "
            f"{' and '.join(KNOWN_INPUTS[1:])}"
        )
    given = {value.name: value for value in outputs[:_MOST_VALUES]}
    if not given.keys() >= set(OUTPUTS) or len(given) < len(outputs):
        shown_names = ", ".join(map(quoted, sorted(given))) or "none"
        raise WireError(f"it gives {shown_names}; a question answering graph gives {' and '.join(OUTPUTS)}")
    for value in inputs:
        _check_matrix(value, {INT64}, "int64")
    for name in OUTPUTS:
        _check_matrix(given[name], {FLOAT, FLOAT16}, "float32 or float16")
    for value in outputs:
        if not value.kind:
            raise WireError(f"its output {quoted(value.name)} is no tensor")
    return names


def _check_matrix(value: Value, kinds: set[int], text: str) -> None:
    """Refuse an input or output that is not a matrix, a row a window, of one of the types."""
    if value.kind not in kinds:
        raise WireError(f"{quoted(value.name)} is of the type {value.kind}, not {text}")
    if value.dims is None or len(value.dims) != 2:
        raise WireError(f"{quoted(value.name)} has {len(value.dims or ())} dimensions, not 2: rows and tokens")
    if any(dim is not None and not 0 <= dim <= _LONGEST_DIM for dim in value.dims):
        raise WireError(f"{quoted(value.name)} has the shape {value.dims}; {_LONGEST_DIM:,} is the limit")
