"""qa_onnx.export.half: what the probe finds, and that nothing in an fp16 graph passes the end of fp16."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx.engines.onnx_gpu import GpuPlan, GpuSession
from qa_onnx.errors import ExportError
from qa_onnx.export import graph, half, probe
from tests import exports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Batch = dict[str, NDArray[np.int64]]

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[export]")
pytestmark = pytest.mark.export

MINILM = Path(__file__).parents[2] / "models" / "minilm-squad"
FACTOR = 5e4  # takes the tiny models' products past 65504, but not their weights
AVERAGED = 1e5  # the same for attention's output: averages of V, which pass 65504 at 5e4 by a hair or not at all


@functools.cache
def graph_of(kind: str) -> Path:
    """The float32 graph as fp16 is made of it."""
    target = exports.scratch() / f"norms-{kind}.onnx"
    graph.fuse_norms(exports.graph_path(exports.exported(kind).bundle, "fp32"), target)
    return target


def batch_of(kind: str) -> Batch:
    return exports.ragged_batch(exports.checkpoint(kind))


def half_tensors(path: Path, batch: Batch) -> dict[str, NDArray[np.float16]]:
    """All fp16 tensors of a graph, as fp16: on CPU, ONNX Runtime rounds what leaves the graph alone."""
    import onnxruntime

    model = onnx.load(path)
    given = {value.name for value in model.graph.output}
    inner = [name for node in model.graph.node for name in node.output if name and name not in given]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs() if value.type == "tensor(float16)"]
    values = session.run(names, {value.name: batch[value.name] for value in session.get_inputs()})
    weights = {
        value.name: onnx.numpy_helper.to_array(value)
        for value in model.graph.initializer
        if value.data_type == onnx.TensorProto.FLOAT16
    }
    return weights | dict(zip(names, values, strict=True))


def peaks_of(source: Path, batches: Iterable[Batch]) -> dict[str, float]:
    """The largest absolute value of each float tensor of a graph."""
    model = probe.load(source)
    return probe.peaks_of(model, probe.float_tensors(model), batches)


def infinite(path: Path, batch: Batch) -> list[str]:
    return [name for name, value in half_tensors(path, batch).items() if not np.isfinite(value).all()]


def scale(model: Any, node: Any, index: int, factor: float, columns: slice = slice(None)) -> None:
    """Multiply columns of one of a node's weights; other nodes may share it and keep it as it is."""
    name = node.input[index]
    array = exports.weight(model, name)
    array[..., columns] *= factor
    node.input[index] = f"{node.name} {index}, scaled" if "scaled" not in name else f"{name} again"
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, node.input[index]))


def nodes(model: Any, operator: str) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == operator]


def reader_of(model: Any, tensor: str, operator: str) -> Any:
    return next(node for node in nodes(model, operator) if tensor in node.input)


def scale_values(model: Any, factor: float = AVERAGED) -> None:
    """V of an Attention, undone by the product that reads it: its output passes 65504, the logits stay."""
    attention = nodes(model, "Attention")[1]
    for index in (1, 2):
        scale(model, attention, index, factor, slice(64, 96))
    scale(model, reader_of(model, attention.output[0], "MatMul"), 1, 1 / factor)


def scale_queries(model: Any) -> None:
    """Q against K: it passes 65504 inside the Attention and nowhere else."""
    attention = nodes(model, "Attention")[0]
    for index in (1, 2):
        scale(model, attention, index, FACTOR, slice(0, 32))
        scale(model, attention, index, 1 / FACTOR, slice(32, 64))


def scale_residual(model: Any) -> None:
    """The residual stream between two norms: the second one does not see a scale."""
    first, second = nodes(model, "SkipLayerNormalization")[:2]
    up = reader_of(model, first.output[0], "MatMul")
    down = next(node for node in nodes(model, "MatMul") if node.output[0] in second.input)
    for node, index in ((first, 2), (first, 3), (down, 1), (second, 4)):
        scale(model, node, index, FACTOR)
    scale(model, up, 1, 1 / FACTOR)


PLANTS = {"values": scale_values, "residual": scale_residual}


@pytest.mark.parametrize("kind", ["bert", "roberta", "albert", "mpnet", "deberta-v2", "modernbert"])
def test_fp16_graph_is_the_same_function(kind: str, tmp_path: Path) -> None:
    source, batch, target = graph_of(kind), batch_of(kind), tmp_path / "half.onnx"
    result = half.to_fp16(source, target, [batch])
    assert exports.difference(target, source, batch) < 0.02
    assert result.excluded_nodes == ()
    assert result.fused_nodes == graph.fused_nodes(onnx.load(source))
    model = onnx.load(target)
    assert {value.type.tensor_type.elem_type for value in model.graph.input} == {onnx.TensorProto.INT64}
    assert {value.type.tensor_type.elem_type for value in model.graph.output} == {onnx.TensorProto.FLOAT}
    assert model.ir_version <= 10
    assert sum(weights(model)) < 0.55 * sum(weights(onnx.load(source)))
    values = half_tensors(target, batch)
    assert len(values) > 10
    assert max(np.abs(value).max() for value in values.values()) <= result.settings["peak"] * 1.001
    assert result.settings["peak"] <= half.LIMIT


def weights(model: Any) -> list[int]:
    return [value.ByteSize() for value in model.graph.initializer]


def test_softmax_and_layer_norms_are_fp16_and_skip_layer_norms_are_not(tmp_path: Path) -> None:
    half.to_fp16(graph_of("modernbert"), tmp_path / "half.onnx", [batch_of("modernbert")])
    halves = set(half_tensors(tmp_path / "half.onnx", batch_of("modernbert")))
    model = onnx.load(tmp_path / "half.onnx")
    for operator in ("Softmax", "LayerNormalization", "Gelu"):
        assert all(node.output[0] in halves for node in nodes(model, operator))
    for operator in ("SkipLayerNormalization", "Cos", "Sin"):
        assert nodes(model, operator)
        assert not any(node.output[0] in halves for node in nodes(model, operator))


def test_probe_sees_inside_attention() -> None:
    import torch

    batch = batch_of("bert")
    model = exports.load_torch(exports.checkpoint("bert"))
    parts = {}
    attention = model.bert.encoder.layer[0].attention.self
    for name in ("query", "key", "value"):
        getattr(attention, name).register_forward_hook(lambda _m, _i, out, name=name: parts.update({name: out}))
    exports.run_torch(model, batch)
    peaks = peaks_of(graph_of("bert"), [batch])
    query, key = (parts[name].unflatten(-1, (2, 16)).transpose(1, 2) for name in ("query", "key"))
    assert peaks["Attention_0: qkv"] == pytest.approx(max(float(part.abs().max()) for part in parts.values()))
    assert peaks["Attention_0: scores"] == pytest.approx(float(torch.matmul(query, key.mT).abs().max()), rel=1e-4)


def test_probe_keeps_the_largest_of_all_batches() -> None:
    rows = [{name: array[row : row + 1] for name, array in batch_of("mpnet").items()} for row in range(3)]
    apart = [peaks_of(graph_of("mpnet"), [row]) for row in rows]
    together = peaks_of(graph_of("mpnet"), iter(rows))
    assert together == {name: max(peaks[name] for peaks in apart) for name in together}
    assert len(set(together.values())) > 20


@pytest.mark.parametrize("name", PLANTS)
def test_planted_overflow_is_kept_in_float32(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of("bert")
    source = exports.edit_onnx(graph_of("bert"), PLANTS[name], tmp_path / "planted.onnx")
    assert exports.difference(source, graph_of("bert"), batch) < 1e-3, "the plant changed the function"
    target = tmp_path / "half.onnx"
    result = half.to_fp16(source, target, [batch])
    peaks = peaks_of(source, [batch])
    assert max(peaks.values()) > half.LARGEST
    assert result.excluded_nodes
    assert infinite(target, batch) == []
    assert result.settings["peak"] <= half.LIMIT
    assert exports.difference(target, source, batch) < 0.02
    monkeypatch.setattr(half, "LIMIT", math.inf)
    naive = half.to_fp16(source, target, [batch])
    assert naive.excluded_nodes == ()
    assert infinite(target, batch)
    assert naive.settings["peak"] > half.LARGEST


def test_nodes_on_both_sides_of_an_overflow_are_kept(tmp_path: Path) -> None:
    source = exports.edit_onnx(graph_of("bert"), scale_values, tmp_path / "planted.onnx")
    result = half.to_fp16(source, tmp_path / "half.onnx", [batch_of("bert")])
    attention = nodes(onnx.load(source), "Attention")[1]
    assert result.excluded_nodes == (
        attention.name,
    )  # the product's weights are tiny now, so that it is in float32 anyway
    product = reader_of(onnx.load(tmp_path / "half.onnx"), attention.output[0], "MatMul")
    assert product.output[0] not in half_tensors(tmp_path / "half.onnx", batch_of("bert"))


def test_overflow_inside_attention_alone_is_seen(tmp_path: Path) -> None:
    source = exports.edit_onnx(graph_of("bert"), scale_queries, tmp_path / "planted.onnx")
    result = half.to_fp16(source, tmp_path / "half.onnx", [batch_of("bert")])
    assert result.excluded_nodes == ("Attention_0",)
    assert exports.difference(tmp_path / "half.onnx", source, batch_of("bert")) < 0.02


def test_weight_past_the_end_of_fp16_stays_float32(tmp_path: Path) -> None:
    batch = batch_of("bert")
    source = exports.edit_onnx(graph_of("bert"), lambda model: scale_values(model, 1e6), tmp_path / "planted.onnx")
    result = half.to_fp16(source, tmp_path / "half.onnx", [batch])
    assert "Attention_1" in result.excluded_nodes
    types = {value.name: value.data_type for value in onnx.load(tmp_path / "half.onnx").graph.initializer}
    assert types[nodes(onnx.load(source), "Attention")[1].input[1]] == onnx.TensorProto.FLOAT
    assert infinite(tmp_path / "half.onnx", batch) == []
    assert exports.difference(tmp_path / "half.onnx", source, batch) < 0.02


def test_masks_are_finite(tmp_path: Path) -> None:
    def set_filter(model: Any) -> None:
        for node in nodes(model, "Attention"):
            node.attribute.append(onnx.helper.make_attribute("mask_filter_value", float(np.finfo(np.float32).min)))

    batch = batch_of("bert")
    source = exports.edit_onnx(graph_of("bert"), set_filter, tmp_path / "source.onnx")
    half.to_fp16(source, tmp_path / "half.onnx", [batch])
    for node in nodes(onnx.load(tmp_path / "half.onnx"), "Attention"):
        assert {value.name: value.f for value in node.attribute}["mask_filter_value"] == probe.MASK
    assert exports.difference(tmp_path / "half.onnx", source, batch) < 0.02
    half.to_fp16(graph_of("mpnet"), tmp_path / "half.onnx", [batch_of("mpnet")])
    values = half_tensors(tmp_path / "half.onnx", batch_of("mpnet"))
    assert min(value.min() for value in values.values()) < probe.MASK + 100


def test_probe_sees_what_is_not_a_number() -> None:
    """ReduceMax passes over it."""
    model = probe.load(graph_of("bert"))
    first = nodes(model, "SkipLayerNormalization")[0]
    array = exports.weight(model, first.input[2])
    array[3] = np.nan
    exports.set_weight(model, first.input[2], array)
    peaks = probe.peaks_of(model, probe.float_tensors(model), [batch_of("bert")])
    assert peaks[first.output[0]] == math.inf


def test_control_flow_is_refused(tmp_path: Path) -> None:
    def add_if(model: Any) -> None:
        branch = onnx.helper.make_graph([], "branch", [], [])
        model.graph.node.append(onnx.helper.make_node("If", ["never"], [], then_branch=branch, else_branch=branch))

    source = exports.edit_onnx(graph_of("bert"), add_if, tmp_path / "if.onnx")
    with pytest.raises(ExportError, match="control flow"):
        half.to_fp16(source, tmp_path / "half.onnx", [])


@pytest.mark.slow
def test_minilm_stays_the_same(tmp_path: Path) -> None:
    from qa_onnx.export import export
    from qa_onnx.export.half_storage import restore

    bundle = export(MINILM, tmp_path / "bundle", precisions=("fp32",))
    model, source = onnx.load(exports.graph_path(bundle, "fp32")), tmp_path / "fp32.onnx"
    restore(model)  # as it is before it is stored
    onnx.save(model, source)
    result = half.to_fp16(source, tmp_path / "half.onnx", [batch := exports.ragged_batch(MINILM, 128)])
    assert result.excluded_nodes == ()
    assert exports.difference(tmp_path / "half.onnx", source, batch) < 0.05
    assert infinite(tmp_path / "half.onnx", batch) == []
    assert (tmp_path / "half.onnx").stat().st_size < 0.51 * source.stat().st_size


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("plant", [None, *PLANTS])
@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet", "modernbert"])
def test_cuda_gives_the_same_logits(kind: str, plant: str | None, tmp_path: Path) -> None:
    source, batch = graph_of(kind), batch_of(kind)
    if plant:
        if kind != "bert":
            pytest.skip("overflow is planted in the tiny BERT alone")
        source = exports.edit_onnx(source, PLANTS[plant], tmp_path / "planted.onnx")
    half.to_fp16(source, tmp_path / "half.onnx", [batch])
    session = GpuSession(tmp_path / "half.onnx", GpuPlan(inputs=tuple(batch), longest=128, precision="fp16"))
    found = np.stack(session.run({name: batch[name] for name in session.input_names}))
    found = found[:, batch["attention_mask"] == 1]
    assert np.abs(found - exports.logits(source, batch)).max() < 0.05
