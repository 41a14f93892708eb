"""A float32 graph -> fp16, but for what would overflow; for CUDA.

Half precision ends at 65504. ONNX Runtime's CPU provider hides what passes that, as it computes fp16 nodes in
float32, so the float32 graph is probed instead: the largest absolute value of each tensor over real batches.
These nodes stay in float32:

    what reads or gives a value past `LIMIT`, so that no such value is ever cast
    SkipLayerNormalization and EmbedLayerNormalization, whose CUDA kernels sum in fp16 in releases before mid 2026
        (onnxruntime's pull request 28682), and norms and powers made of single nodes
    arithmetic of positions (rotary angles, distance buckets) and the layer that gives the logits, to be exact

Softmax and LayerNormalization become fp16: their CUDA kernels sum in float32 (onnxruntime, core/providers/cuda:
math/softmax.cc, AccumulateType; nn/layer_norm.cc, U), and so does the softmax inside Attention (contrib_ops/cuda/
bert/attention_softmax.cu). onnxruntime's converter is not used: it clamps large weights without a word, needs
types that it cannot infer through fused nodes, and casts to fp16 and back between two nodes that are both kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qa_onnx import machine
from qa_onnx.errors import ExportError, InputError
from qa_onnx.export.graph import OUTPUTS, fused_nodes, save

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from numpy.typing import NDArray

    Batches: TypeAlias = Iterable[Mapping[str, NDArray[np.int64]]]

LARGEST = 65504.0  # of fp16
# A fourth of it: the sum of two tensors, which a fused node may make inside, is in range, and half of the range is
# left for texts that are further out than the probe's, and for partial sums of a product.
LIMIT = LARGEST / 4
# Added to the scores of padding in place of float32's lowest value: exp(MASK) is 0 and MASK + a score is finite.
MASK = -10_000.0

_ENDLESS = -1e30  # a constant at or below it is a mask
_SMALLEST = 2.0**-14  # normal number of fp16; a constant that is all below it, such as an epsilon, would vanish
# These stay float32: two norms, the powers and sums that others are made of, and constants of rare forms.
_SINGLE = {"EmbedLayerNormalization", "SkipLayerNormalization", "Pow", "ReduceL2", "ReduceMean", "ReduceSum"}
_SINGLE |= {"Constant", "Sqrt"}
_SHAPES = {"Shape", "Size"}  # read no values
_INSIDE = ("product", "qkv", "scores")  # of an Attention node


@dataclass(frozen=True, slots=True)
class HalfResult:
    """What became of a graph.

    Attributes:
        fused_nodes: how many nodes of each com.microsoft operator it has.
        kept: names of the nodes that are in float32 only because a value passes `LIMIT`, in the graph's order.
        peak: largest absolute value that any fp16 tensor would hold, over the probe's batches.
    """

    fused_nodes: dict[str, int]
    kept: tuple[str, ...]
    peak: float


def probe(source: Path, batches: Batches) -> dict[str, float]:
    """Find the largest absolute value of every float tensor of a graph, weights and what is inside Attention too.

    Masks count as `MASK`, as in the fp16 graph: constants of -1e30 or less are replaced before the graph runs.
    Values are reduced inside the graph, so memory does not grow with the number of tensors or batches.

    Args:
        source: a float32 graph, plain or fused.
        batches: int64 (B, T) under each of the graph's inputs.

    Returns:
        By name of the tensor. Inside an Attention node, "<node>: product" (input x weights), "<node>: qkv" (with
        the bias) and "<node>: scores" (not yet scaled, since a CUDA kernel stores them so).

    Raises:
        InputError: there are no batches.
        ExportError: the graph has control flow, or does not run.
    """
    model = _load(source)
    return _peaks(model, _floats(model), batches)


def to_fp16(source: Path, target: Path, batches: Batches) -> HalfResult:
    """Convert a graph to fp16; its inputs stay int64, its logits float32.

    Args:
        source: a float32 graph, plain or fused.
        target: the file to write.
        batches: see `probe`; windows of real text.

    Raises:
        InputError: there are no batches.
        ExportError: the graph has control flow, or does not run.
    """
    model = _load(source)
    floats = _floats(model)
    peaks = _peaks(model, floats, batches)
    overflowing, delicate = _overflowing(model, peaks), _delicate(model, floats, peaks)
    kept = tuple(node.name for node in model.graph.node if node.name in overflowing - delicate)
    half = {node.name for node in model.graph.node} - overflowing - delicate
    halved = _Halver(model, floats, half, overflowing).convert()
    halved |= {f"{name}: {part}" for name in half for part in _INSIDE}
    save(model, target)
    peak = max((peaks[name] for name in halved & peaks.keys()), default=0.0)
    return HalfResult(fused_nodes(model), kept, peak)


def _load(source: Path) -> Any:
    """The model with finite masks, with float constants as initializers, and with a name for each node."""
    import onnx

    model = onnx.load(source)
    graph = model.graph
    nodes, names = [], set()
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise ExportError(f"{source} has control flow ({node.op_type}), which cannot be converted to fp16")
            if attribute.f <= _ENDLESS:
                attribute.f = MASK
            _make_finite(attribute.t)
        if node.op_type == "Constant" and node.attribute[0].t.data_type == onnx.TensorProto.FLOAT:
            graph.initializer.append(node.attribute[0].t)
            graph.initializer[-1].name = node.output[0]
            continue
        if not node.name or node.name in names:
            node.name = f"{node.op_type} of {next(filter(None, node.output))}"
        names.add(node.name)
        nodes.append(node)
    for weight in graph.initializer:
        _make_finite(weight)
    _replace(graph.node, nodes)
    return model


def _make_finite(tensor: Any) -> None:
    from onnx import TensorProto, numpy_helper

    array = numpy_helper.to_array(tensor) if tensor.data_type == TensorProto.FLOAT else np.zeros(0)
    if (array <= _ENDLESS).any():
        masked = np.where(array <= _ENDLESS, np.float32(MASK), array)
        tensor.CopyFrom(numpy_helper.from_array(masked, tensor.name))


def _replace(field: Any, values: Iterable[Any]) -> None:
    values = list(values)
    del field[:]
    field.extend(values)


def _session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = machine.default_threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise ExportError(f"the graph does not load for a probe of its values: {error}") from error


def _floats(model: Any) -> set[str]:
    """Names of all float32 tensors, by ONNX Runtime's own type inference, which knows the fused nodes."""
    import onnx

    graph = model.graph
    given = [value.name for value in graph.output]
    inner = [name for node in graph.node for name in node.output if name and name not in given]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    found = {value.name for value in _session(model).get_outputs() if value.type == "tensor(float)"}
    del graph.output[len(given) :]
    return found | {weight.name for weight in graph.initializer if weight.data_type == onnx.TensorProto.FLOAT}


def _peaks(model: Any, floats: AbstractSet[str], batches: Batches) -> dict[str, float]:
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer if weight.name in floats}
    peaks = {name: float(np.abs(numpy_helper.to_array(weight)).max(initial=0)) for name, weight in weights.items()}
    watched = [name for node in graph.node for name in node.output if name in floats]
    nodes, outputs = len(graph.node), len(graph.output)
    for node in graph.node[:nodes]:
        if _is_open(node, weights):
            graph.node.extend(_attention(node, weights))
            watched += [f"{node.name}: {part}" for part in _INSIDE]
    for index, name in enumerate(watched):
        graph.node.append(helper.make_node("Abs", [name], [f"absolute {index}"]))
        graph.node.append(helper.make_node("ReduceMax", [f"absolute {index}"], [f"peak {index}"], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(f"peak {index}", TensorProto.FLOAT, []))
    session = _session(model)
    peak_names = [value.name for value in graph.output[outputs:]]
    del graph.node[nodes:]
    del graph.output[outputs:]
    found = np.zeros(len(watched), np.float32)
    declared = [value.name for value in session.get_inputs()]
    read = 0
    for inputs in batches:
        read += 1
        try:
            values = session.run(peak_names, {name: inputs[name] for name in declared})
        except Exception as error:  # onnxruntime's own, and KeyError
            raise ExportError(f"the graph fails on a batch of the probe: {error!r}") from error
        found = np.maximum(found, values)  # and not a number stays so
    if not read:
        raise InputError("there are no batches to probe the graph with; give at least one")
    return peaks | dict(zip(watched, map(float, found), strict=True))


def _is_open(node: Any, weights: Container[str]) -> bool:
    """Whether what a node holds inside can be computed beside it: Attention of constant weights can."""
    return node.op_type == "Attention" and len(node.input) > 2 and node.input[1] in weights


def _attention(node: Any, weights: Mapping[str, Any]) -> Iterator[Any]:
    """Nodes that compute what an Attention node holds in fp16 on CUDA, as "<node>: <part>" of `_INSIDE`."""
    from onnx import helper, numpy_helper

    attributes = {attribute.name: attribute for attribute in node.attribute}
    sizes = [weights[node.input[1]].dims[1] // 3] * 3
    if "qkv_hidden_sizes" in attributes:
        sizes = list(attributes["qkv_hidden_sizes"].ints)
    heads = [0, 0, attributes["num_heads"].i, -1]
    product, qkv, scores = (f"{node.name}: {part}" for part in _INSIDE)

    def make(operator: str, inputs: list[str], *outputs: str, **options: Any) -> Any:
        return helper.make_node(operator, inputs, outputs, **options)

    yield make("MatMul", [node.input[0], node.input[1]], product)
    yield make("Add" if node.input[2] else "Identity", [product, *filter(None, [node.input[2]])], qkv)
    for part, shape in (("sizes", sizes), ("heads", heads)):
        yield make("Constant", [], f"{qkv} {part}", value=numpy_helper.from_array(np.array(shape, np.int64)))
    yield make("Split", [qkv, f"{qkv} sizes"], *(f"{qkv} {part}" for part in "qkv"), axis=2)
    for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1])):
        yield make("Reshape", [f"{qkv} {part}", f"{qkv} heads"], f"{qkv} {part} heads")
        yield make("Transpose", [f"{qkv} {part} heads"], f"{qkv} {part} turned", perm=order)
    yield make("MatMul", [f"{qkv} q turned", f"{qkv} k turned"], scores)


def _overflowing(model: Any, peaks: Mapping[str, float]) -> set[str]:
    """Names of the nodes that touch a value past `LIMIT`."""
    beyond = {name for name, peak in peaks.items() if not peak <= LIMIT}  # what is not a number is beyond, too
    return {
        node.name
        for node in model.graph.node
        if node.op_type not in _SHAPES
        and beyond.intersection((*node.input, *node.output, *(f"{node.name}: {part}" for part in _INSIDE)))
    }


def _delicate(model: Any, floats: AbstractSet[str], peaks: Mapping[str, float]) -> set[str]:
    """Names of the nodes that would be wrong or inexact in fp16 though nothing overflows."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    vanishing = {name for name in weights & peaks.keys() if 0 < peaks[name] < _SMALLEST}
    found, positions = set(), []
    for node in graph.node:
        closed = node.op_type.endswith("Attention") and not _is_open(node, weights)
        if closed or node.op_type in {*_SINGLE, *DEFAULT_OP_BLOCK_LIST} or vanishing.intersection(node.input):
            found.add(node.name)
        # Angles and bucket numbers of positions: fp16 counts in steps of 1 from 1024 on, and of 1/4 from 256 on.
        decides = node.op_type not in _SHAPES and floats.isdisjoint(node.output)
        if decides or node.op_type in {"Sin", "Cos"}:
            found.add(node.name)
            positions += node.input
    found |= _upstream(model, positions, floats)
    return found | _upstream(model, OUTPUTS, floats, until=("MatMul", "Gemm"))


def _upstream(
    model: Any, tensors: Iterable[str], floats: AbstractSet[str], *, until: tuple[str, ...] = ()
) -> set[str]:
    """Names of the nodes that float tensors are made by, back to operators `until`, these included."""
    producers = {name: node for node in model.graph.node for name in node.output if name in floats}
    found: set[str] = set()
    waiting = list(tensors)
    while waiting:
        node = producers.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting += () if node.op_type in until else node.input
    return found


class _Halver:
    """Rewrites a model in place: fp16 all but some nodes, with one cast where a tensor crosses over.

    Args:
        model: as `_load` returns it.
        floats: names of its float tensors.
        half: names of the nodes to convert; those that give the graph's outputs are not among them.
        exact: names of nodes whose weights must stay float32 in the file as well.
    """

    def __init__(
        self, model: Any, floats: AbstractSet[str], half: AbstractSet[str], exact: AbstractSet[str]
    ) -> None:
        self._graph = model.graph
        self._floats, self._half, self._exact = floats, half, exact
        self._weights = {value.name: value for value in self._graph.initializer if value.name in floats}
        self._native: set[str] = set()  # tensors that their node gives as fp16
        self._halved: set[str] = set()  # others of which an fp16 form is made
        self._nodes: list[Any] = []
        self._made: dict[str, Any] = {}  # weights of fp16, and casts

    def convert(self) -> set[str]:
        """Do it; returns the names of the tensors that have an fp16 form now."""
        for node in self._graph.node:
            half = node.name in self._half
            if node.op_type not in {*_SHAPES, "Cast"}:  # these read any type
                for index, name in enumerate(node.input):
                    if name in self._floats:
                        node.input[index] = self._as_half(name) if half else self._as_single(name, node)
            given = {name for name in node.output if name in self._floats}
            if half and given:
                _give_half(node)
                self._native |= given
            self._nodes.append(node)
        read = {name for node in self._nodes for name in node.input}
        stay = [value for value in self._graph.initializer if value.name in read]
        _replace(self._graph.initializer, [*stay, *filter(None, self._made.values())])
        _replace(self._graph.node, self._nodes)
        del self._graph.value_info[:]
        return self._native | self._halved

    def _as_half(self, name: str) -> str:
        from onnx import TensorProto, numpy_helper

        if name in self._native:
            return name
        self._halved.add(name)
        half = f"{name}_fp16"
        if name not in self._weights:
            return self._cast(name, half, TensorProto.FLOAT16)
        if half not in self._made:
            array = numpy_helper.to_array(self._weights[name]).astype(np.float16)
            self._made[half] = numpy_helper.from_array(array, half)
        return half

    def _as_single(self, name: str, node: Any) -> str:
        from onnx import TensorProto

        # Tables of embeddings can be half of a small model: the file has them in fp16, and loading casts them.
        table = node.op_type == "EmbedLayerNormalization" and name in self._weights
        if name in self._native or (table and node.name not in self._exact):
            return self._cast(self._as_half(name), f"{name}_fp32", TensorProto.FLOAT)
        return name

    def _cast(self, name: str, to: str, kind: int) -> str:
        from onnx import helper

        if to not in self._made:
            self._made[to] = None
            self._nodes.append(helper.make_node("Cast", [name], [to], name=f"Cast to {to}", to=kind))
        return to


def _give_half(node: Any) -> None:
    """Change the attributes that say that a node gives float32."""
    from onnx import TensorProto, helper, numpy_helper

    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to":
            attribute.i = TensorProto.FLOAT16
        if attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float16)))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        zero = numpy_helper.from_array(np.zeros(1, np.float16))
        node.attribute.append(helper.make_attribute("value", zero))
