"""A float32 graph -> fp16 for CUDA, except for what would overflow.

Half precision ends at 65504. ONNX Runtime's CPU provider computes fp16 nodes in float32 and so hides overflows:
the float32 graph is probed instead, for the largest absolute value of each tensor over real batches (probe.py).
These nodes stay in float32:

    nodes that read or give a value past `LIMIT`, so that no such value is ever cast
    SkipLayerNormalization and EmbedLayerNormalization, whose CUDA kernels sum in fp16 in releases before mid 2026
        (onnxruntime's pull request 28682), and norms and powers that consist of several nodes
    arithmetic of positions (rotary angles, distance buckets) and the layer that gives the logits, to be exact

Softmax and LayerNormalization become fp16: their CUDA kernels sum in float32 (onnxruntime, core/providers/cuda:
math/softmax.cc, AccumulateType; nn/layer_norm.cc, U), and so does the softmax inside Attention (contrib_ops/cuda/
bert/attention_softmax.cu). onnxruntime's converter is not used: it clamps large weights without a warning, needs
types that it cannot infer through fused nodes, and casts to fp16 and back between two nodes that are both kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.export.graph import GraphFile, fused_nodes, replace_all, save
from qa_onnx.export.probe import INSIDE, float_tensors, is_open, load, peaks_of
from qa_onnx.session import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from qa_onnx.export.ranges import Batches

LARGEST = 65504.0  # of fp16
# A fourth of it: a fused node may add two tensors inside, and a factor of two is left for partial sums of a
# product and for texts with larger values than those of the probe.
LIMIT = LARGEST / 4

_SMALLEST = 2.0**-14  # normal number of fp16; a constant whose values are all smaller, an epsilon, would become 0
# These stay float32: two fused norms, the powers and sums of norms of several nodes, and rare forms of constants.
_SINGLE = {"EmbedLayerNormalization", "SkipLayerNormalization", "Pow", "ReduceL2", "ReduceMean", "ReduceSum"}
_SINGLE |= {"Constant", "Sqrt"}
_SHAPES = {"Shape", "Size"}  # read no values


def to_fp16(source: Path, target: Path, batches: Batches) -> GraphFile:
    """Convert a graph to fp16; its inputs stay int64, its logits float32.

    Args:
        source: a float32 graph, plain or fused; norms as `graph.fuse_norms` leaves them.
        target: the file to write.
        batches: windows of real text, int64 (B, T) under each of the graph's inputs.

    Returns:
        The graph. Its excluded nodes are in float32 only because a value passes `LIMIT`, in the graph's order; the
        setting "peak" is the largest absolute value of its fp16 tensors, over the batches.

    Raises:
        InputError: there are no batches.
        ExportError: the graph has control flow, or does not run.
    """
    model = load(source)
    floats = float_tensors(model)
    peaks = peaks_of(model, floats, batches)
    overflowing, delicate = _overflowing(model, peaks), _delicate(model, floats, peaks)
    excluded = tuple(node.name for node in model.graph.node if node.name in overflowing - delicate)
    half = {node.name for node in model.graph.node} - overflowing - delicate
    halved = Fp16Converter(model, floats, half, overflowing).convert()
    halved |= {f"{name}: {part}" for name in half for part in INSIDE}
    save(model, target)
    peak = max((peaks[name] for name in halved & peaks.keys()), default=0.0)
    return GraphFile(target, fused_nodes(model), excluded, {"peak": peak})


def _overflowing(model: Any, peaks: Mapping[str, float]) -> set[str]:
    """Return the names of the nodes that read or give a value past `LIMIT`."""
    beyond = {name for name, peak in peaks.items() if not peak <= LIMIT}  # also infinity and NaN
    return {
        node.name
        for node in model.graph.node
        if node.op_type not in _SHAPES
        and beyond.intersection((*node.input, *node.output, *(f"{node.name}: {part}" for part in INSIDE)))
    }


def _delicate(model: Any, floats: AbstractSet[str], peaks: Mapping[str, float]) -> set[str]:
    """Return the names of the nodes that would be wrong or inexact in fp16 although nothing overflows."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    vanishing = {name for name in weights & peaks.keys() if 0 < peaks[name] < _SMALLEST}
    delicate, positions = set(), []
    for node in graph.node:
        closed = node.op_type.endswith("Attention") and not is_open(node, weights)
        if closed or node.op_type in {*_SINGLE, *DEFAULT_OP_BLOCK_LIST} or vanishing.intersection(node.input):
            delicate.add(node.name)
        # Angles and bucket numbers of positions: the steps of fp16 are 1/4 from 256 on, and 1 from 1024 on.
        without_floats = node.op_type not in _SHAPES and floats.isdisjoint(node.output)
        if without_floats or node.op_type in {"Sin", "Cos"}:
            delicate.add(node.name)
            positions += node.input
    delicate |= _upstream(model, positions, floats)
    return delicate | _upstream(model, OUTPUTS, floats, until=("MatMul", "Gemm"))


def _upstream(
    model: Any, tensors: Iterable[str], floats: AbstractSet[str], *, until: tuple[str, ...] = ()
) -> set[str]:
    """Return the names of the nodes that compute float tensors, back to operators `until`, these included."""
    producers = {name: node for node in model.graph.node for name in node.output if name in floats}
    names: set[str] = set()
    queue = list(tensors)
    while queue:
        node = producers.get(queue.pop())
        if node is not None and node.name not in names:
            names.add(node.name)
            queue += () if node.op_type in until else node.input
    return names


class Fp16Converter:
    """Converts nodes of a model to fp16, in place, with one cast for each tensor that both kinds of nodes read.

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
        self._copied: set[str] = set()  # float32 tensors of which there is an fp16 copy
        self._nodes: list[Any] = []
        self._copies: dict[str, Any] = {}  # weights in fp16 by name, and None for the result of a cast

    def convert(self) -> set[str]:
        """Convert the model; return the names of the tensors that are fp16 or have an fp16 copy now."""
        for node in self._graph.node:
            half = node.name in self._half
            if node.op_type not in {*_SHAPES, "Cast"}:  # these read any type
                for index, name in enumerate(node.input):
                    if name in self._floats:
                        node.input[index] = self._as_half(name) if half else self._as_single(name, node)
            outputs = {name for name in node.output if name in self._floats}
            if half and outputs:
                _set_output_type(node)
                self._native |= outputs
            self._nodes.append(node)
        read = {name for node in self._nodes for name in node.input}
        weights = [value for value in self._graph.initializer if value.name in read]
        replace_all(self._graph.initializer, [*weights, *filter(None, self._copies.values())])
        replace_all(self._graph.node, self._nodes)
        del self._graph.value_info[:]
        return self._native | self._copied

    def _as_half(self, name: str) -> str:
        from onnx import TensorProto, numpy_helper

        if name in self._native:
            return name
        self._copied.add(name)
        half = f"{name}_fp16"
        if name not in self._weights:
            return self._cast(name, half, TensorProto.FLOAT16)
        if half not in self._copies:
            array = numpy_helper.to_array(self._weights[name]).astype(np.float16)
            self._copies[half] = numpy_helper.from_array(array, half)
        return half

    def _as_single(self, name: str, node: Any) -> str:
        from onnx import TensorProto

        # Embeddings can be half of a small model: the file holds them in fp16, and the engine casts them at
        # loading.
        table = node.op_type == "EmbedLayerNormalization" and name in self._weights
        if name in self._native or (table and node.name not in self._exact):
            return self._cast(self._as_half(name), f"{name}_fp32", TensorProto.FLOAT)
        return name

    def _cast(self, name: str, to: str, kind: int) -> str:
        from onnx import helper

        if to not in self._copies:
            self._copies[to] = None
            self._nodes.append(helper.make_node("Cast", [name], [to], name=f"Cast to {to}", to=kind))
        return to


def _set_output_type(node: Any) -> None:
    """Change the attributes of a node that name float32 as its output type."""
    from onnx import TensorProto, helper, numpy_helper

    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to":
            attribute.i = TensorProto.FLOAT16
        if attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float16)))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        zero = numpy_helper.from_array(np.zeros(1, np.float16))
        node.attribute.append(helper.make_attribute("value", zero))
