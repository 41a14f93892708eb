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

from qa_onnx.export.graph import OUTPUTS, fused_nodes, save
from qa_onnx.export.probe import INSIDE, float_tensors, is_open, load, peaks_of, replace_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from numpy.typing import NDArray

    Batches: TypeAlias = Iterable[Mapping[str, NDArray[np.int64]]]

LARGEST = 65504.0  # of fp16
# A fourth of it: the sum of two tensors, which a fused node may make inside, is in range, and half of the range is
# left for texts that are further out than the probe's, and for partial sums of a product.
LIMIT = LARGEST / 4

_SMALLEST = 2.0**-14  # normal number of fp16; a constant that is all below it, such as an epsilon, would vanish
# These stay float32: two norms, the powers and sums that others are made of, and constants of rare forms.
_SINGLE = {"EmbedLayerNormalization", "SkipLayerNormalization", "Pow", "ReduceL2", "ReduceMean", "ReduceSum"}
_SINGLE |= {"Constant", "Sqrt"}
_SHAPES = {"Shape", "Size"}  # read no values


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


def to_fp16(source: Path, target: Path, batches: Batches) -> HalfResult:
    """Convert a graph to fp16; its inputs stay int64, its logits float32.

    Args:
        source: a float32 graph, plain or fused; norms as `graph.fuse_norms` leaves them.
        target: the file to write.
        batches: see `probe`; windows of real text.

    Raises:
        InputError: there are no batches.
        ExportError: the graph has control flow, or does not run.
    """
    model = load(source)
    floats = float_tensors(model)
    peaks = peaks_of(model, floats, batches)
    overflowing, delicate = _overflowing(model, peaks), _delicate(model, floats, peaks)
    kept = tuple(node.name for node in model.graph.node if node.name in overflowing - delicate)
    half = {node.name for node in model.graph.node} - overflowing - delicate
    halved = _Halver(model, floats, half, overflowing).convert()
    halved |= {f"{name}: {part}" for name in half for part in INSIDE}
    save(model, target)
    peak = max((peaks[name] for name in halved & peaks.keys()), default=0.0)
    return HalfResult(fused_nodes(model), kept, peak)


def _overflowing(model: Any, peaks: Mapping[str, float]) -> set[str]:
    """Names of the nodes that touch a value past `LIMIT`."""
    beyond = {name for name, peak in peaks.items() if not peak <= LIMIT}  # what is not a number is beyond, too
    return {
        node.name
        for node in model.graph.node
        if node.op_type not in _SHAPES
        and beyond.intersection((*node.input, *node.output, *(f"{node.name}: {part}" for part in INSIDE)))
    }


def _delicate(model: Any, floats: AbstractSet[str], peaks: Mapping[str, float]) -> set[str]:
    """Names of the nodes that would be wrong or inexact in fp16 though nothing overflows."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    vanishing = {name for name in weights & peaks.keys() if 0 < peaks[name] < _SMALLEST}
    found, positions = set(), []
    for node in graph.node:
        closed = node.op_type.endswith("Attention") and not is_open(node, weights)
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
        model: as `load` returns it.
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
        replace_all(self._graph.initializer, [*stay, *filter(None, self._made.values())])
        replace_all(self._graph.node, self._nodes)
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
