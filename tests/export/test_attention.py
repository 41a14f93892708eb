"""The products of attention in 8 bits: where they are quantized, in which type, and logits near float32."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.engines.openvino_cpu import OpenVinoSession
from qa_onnx.errors import ExportError
from qa_onnx.export import ranges, static
from qa_onnx.export.attention import attention_products
from qa_onnx.export.graph import save
from qa_onnx.export.static import quantizable_names, quantize_static
from qa_onnx.machine import cpu
from tests import tiny
from tests.export.test_ranges import batches_of, load, plain
from tests.export.test_smooth import plant_outliers
from tests.exports import edit_onnx, logits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.export.attention import Side

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[export]")
pytestmark = [pytest.mark.export, pytest.mark.cpu]

HEADS, TOKENS, SIZE = 2, 3, 8  # of `attend`
every_kind = pytest.mark.parametrize("kind", tiny.KINDS)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "static.onnx"


def quantize(source: Path, target: Path, kind: str = "bert", **options: Any) -> Any:
    """Quantize a tiny graph, and return the model."""
    quantize_static(source, target, batches_of(source, kind), **options)
    return load(target)


def attention_names(kind: str) -> list[str]:
    return [product.node.name for product in attention_products(load(plain(kind)))]


def quantized_sides(model: Any, name: str) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Scale and zero point of each side of a product that is quantized, perhaps before its values are moved."""
    producers = {output: node for node in model.graph.node for output in node.output}
    constants = {value.name: onnx.numpy_helper.to_array(value) for value in model.graph.initializer}
    (product,) = (node for node in model.graph.node if node.name == name)
    sides = []
    for tensor in product.input:
        node = producers[tensor]
        while node.op_type in {"Reshape", "Transpose", "Squeeze"}:
            node = producers[node.input[0]]
        if node.op_type == "DequantizeLinear":
            assert producers[node.input[0]].op_type == "QuantizeLinear"
            assert list(producers[node.input[0]].input[1:]) == list(node.input[1:])
            sides.append((constants[node.input[1]], constants[node.input[2]]))
    return sides


def attend(path: Path, nodes: Sequence[Any], outputs: Sequence[str] = ("y",)) -> Path:
    """Write a graph that reads x: float32 (1, TOKENS, SIZE) and has a tensor of it, "copy", inside."""
    split = onnx.numpy_helper.from_array(np.array([1, TOKENS, HEADS, SIZE // HEADS], np.int64), "split")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["copy"]), *nodes],
        "attention",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, TOKENS, SIZE])],
        values,
        [split],
    )
    save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    return path


def heads(tensor: str, output: str, *axes: int) -> list[Any]:
    """Nodes that split a tensor into heads, and move its axes."""
    return [
        onnx.helper.make_node("Reshape", [tensor, "split"], [f"{output}_split"]),
        onnx.helper.make_node("Transpose", [f"{output}_split"], [output], perm=axes),
    ]


def matmul(left: str, right: str, output: str = "y") -> Any:
    return onnx.helper.make_node("MatMul", [left, right], [output], name=output)


# Which products, and where


@every_kind
def test_every_layer_has_two(kind: str) -> None:
    found = attention_products(load(plain(kind)))
    assert len(found) == 2 * 2
    for scores, values in zip(found[::2], found[1::2], strict=True):
        assert [side.is_softmax for side in (*scores.sides, *values.sides)] == [False, False, True, False]
        assert [side.is_right for side in (*scores.sides, *values.sides)] == [False, True, False, True]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "roberta", "xlm-roberta", "albert", "mpnet"])
def test_queries_keys_and_values_are_quantized_before_the_heads_are_split(kind: str) -> None:
    model = load(plain(kind))
    producers = {output: node.op_type for node in model.graph.node for output in node.output}
    for scores, values in zip(*[iter(attention_products(model))] * 2, strict=True):
        for side in (*scores.sides, values.sides[1]):
            assert (producers[side.tensor], side.reader.op_type, side.index) == ("Add", "Reshape", 0)
        probabilities = values.sides[0]
        assert (producers[probabilities.tensor], probabilities.reader) == ("Softmax", values.node)


def test_relative_positions_stay_float32(target: Path) -> None:
    model = quantize(plain("deberta-v2"), target, "deberta-v2")
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    producers = {output: node for node in model.graph.node for output in node.output}
    gathered = {node.input[0] for node in model.graph.node if node.op_type == "GatherElements"}
    positions = [node for node in model.graph.node if gathered & set(node.output)]
    assert [node.op_type for node in positions] == ["MatMul"] * 4
    for node in positions:
        assert not dequantized & set(node.input)
        assert producers[node.input[1]].op_type == "Transpose"
        assert quantized_sides(model, node.name) == []


@every_kind
def test_types_and_scales(kind: str, target: Path) -> None:
    model, wanted = quantize(plain(kind), target, kind), attention_products(load(plain(kind)))
    tensors = {side.tensor for product in wanted for side in product.sides}
    spans = ranges.tensor_ranges(load(plain(kind)), tensors, batches_of(plain(kind), kind))

    def expected(side: Side) -> float:
        low, high = spans[side.tensor]
        return 1 / 255 if side.is_softmax else max(-low, high) / (64 if side.is_right else 127)

    for product in wanted:
        sides = quantized_sides(model, product.node.name)
        for (scale, zero), side in zip(sides, product.sides, strict=True):
            assert zero.dtype == (np.uint8 if side.is_softmax else np.int8)
            assert zero == 0
            assert scale == pytest.approx(expected(side), rel=0.05)  # its matrices were quantized


# What other nodes read


def test_another_reader_of_a_tensor_gets_it_in_float32(tmp_path: Path, target: Path) -> None:
    nodes = [
        *heads("copy", "left", 0, 2, 1, 3),
        *heads("copy", "right", 0, 2, 3, 1),
        matmul("left", "right"),
        onnx.helper.make_node("Neg", ["copy"], ["other"]),
    ]
    source = attend(tmp_path / "shared.onnx", nodes, ("y", "other"))
    x = np.random.default_rng(0).standard_normal((1, TOKENS, SIZE)).astype(np.float32)
    quantize_static(source, target, [{"x": x}])  # type: ignore[dict-item]  # floats here
    model = load(target)
    read = {node.output[0]: node.input[0] for node in model.graph.node}
    assert read["other"] == "copy"
    assert (read["left_split"], read["right_split"]) == ("copy_left_dequantized", "copy_right_dequantized")
    (product,) = attention_products(load(source))
    assert [(side.tensor, side.reader.op_type) for side in product.sides] == [("copy", "Reshape")] * 2
    y, other = run(target, x)
    np.testing.assert_array_equal(other, -x)
    np.testing.assert_allclose(y, run(source, x)[0], atol=0.3)


def test_after_moves_that_another_node_reads_it_is_quantized_later(tmp_path: Path, target: Path) -> None:
    nodes = [
        *heads("copy", "left", 0, 2, 1, 3),
        *heads("copy", "right", 0, 2, 3, 1),
        matmul("left", "right"),
        onnx.helper.make_node("Neg", ["left_split"], ["other"]),
        onnx.helper.make_node("Shape", ["right_split"], ["shape"]),  # reads no values
        onnx.helper.make_node("Reshape", ["other", "shape"], ["z"]),
    ]
    source = attend(tmp_path / "moved.onnx", nodes, ("y", "z", "right"))
    left, right = attention_products(load(source))[0].sides
    assert (left.tensor, left.reader.op_type) == ("left_split", "Transpose")
    assert (right.tensor, right.reader.op_type) == ("right", "MatMul")  # an output of the graph
    x = np.random.default_rng(0).standard_normal((1, TOKENS, SIZE)).astype(np.float32)
    quantize_static(source, target, [{"x": x}])  # type: ignore[dict-item]  # floats here
    for ours, theirs in zip(run(target, x)[1:], run(source, x)[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_tensor_that_meets_itself_is_quantized_for_each_side(tmp_path: Path, target: Path) -> None:
    nodes = [
        onnx.helper.make_node("Transpose", ["copy"], ["square"], perm=[0, 2, 1]),
        matmul("copy", "square", "z"),
        matmul("z", "z"),
    ]
    source = attend(tmp_path / "itself.onnx", nodes)
    x = np.zeros((1, TOKENS, SIZE), np.float32)  # scales are 1 then, not 0
    quantize_static(source, target, [{"x": x}])  # type: ignore[dict-item]  # floats here
    read = {node.output[0]: list(node.input) for node in load(target).graph.node}
    assert read["y"] == ["z_left_dequantized", "z_right_dequantized"]
    np.testing.assert_array_equal(run(target, x)[0], 0)


def run(path: Path, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


# Logits


@every_kind
def test_logits_follow_float32_in_every_engine(kind: str, target: Path) -> None:
    batches = batches_of(plain(kind), kind)
    quantize_static(plain(kind), target, batches)
    onnx.checker.check_model(load(target), full_check=True)
    sessions: list[OnnxSession | OpenVinoSession] = [OnnxSession(target, threads=1)]
    if find_spec("openvino"):
        sessions.append(OpenVinoSession(target, threads=1))
    for session in sessions:
        for batch in batches:
            ours = np.stack(session.run({name: batch[name] for name in session.input_names}))
            ours, theirs = ours[:, batch["attention_mask"] == 1], logits(plain(kind), batch)
            assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99


@pytest.mark.skipif(not cpu.has_exact_int8(), reason="needs VNNI")
def test_in_openvino_queries_keys_and_values_leave_their_products_as_int8(target: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="needs the openvino extra")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    for exclude, expected in ((attention_names("bert"), 0), ((), 6)):
        quantize(plain("bert"), target, exclude=exclude)
        model = openvino.Core().compile_model(target, "CPU", settings).get_runtime_model()
        about = [node.get_rt_info() for node in model.get_ordered_ops()]
        products = [one for one in about if one["layerType"].astype(str) == "FullyConnected"]
        assert [one["outputPrecisions"].astype(str) for one in products].count("i8") == expected


# Leaving out


@pytest.mark.parametrize("kind", ["bert", "deberta-v2"])
def test_excluded_ones_stay_as_they_were(kind: str, target: Path) -> None:
    first, *others = attention_names(kind)
    model = quantize(plain(kind), target, kind, exclude=[first])
    before = next(node for node in load(plain(kind)).graph.node if node.name == first)
    assert next(node for node in model.graph.node if node.name == first) == before
    assert quantized_sides(model, first) == []
    assert all(len(quantized_sides(model, name)) == 2 for name in others)


def test_any_one_can_be_the_only_quantized_one(target: Path) -> None:
    names = quantizable_names(plain("bert"))
    assert set(attention_names("bert")) < set(names)
    assert len(names) == 12 + 4
    for name in attention_names("bert"):
        model = quantize(plain("bert"), target, exclude=[other for other in names if other != name])
        sides = [len(quantized_sides(model, other)) for other in attention_names("bert")]
        assert sum(sides) == len(quantized_sides(model, name)) == 2
    with pytest.raises(ExportError, match="no product that can be quantized, or all are excluded"):
        quantize(plain("bert"), target, exclude=names)


def test_products_without_a_name_can_be_excluded(tmp_path: Path, target: Path) -> None:
    def forget(model: Any) -> None:
        for node in model.graph.node:
            node.name = ""

    nameless = edit_onnx(plain("bert"), forget, tmp_path / "nameless.onnx")
    save(load(nameless), nameless)
    names = quantizable_names(nameless)
    assert all(names)
    assert len(set(names)) == 16
    model = quantize(nameless, target, exclude=names[3:])
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 1  # of query, key and value


def test_ranges_of_probabilities_are_not_looked_for(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()

    def record(model: Any, tensors: set[str], batches: Any) -> dict[str, ranges.Magnitude]:
        asked.update(tensors)
        return ranges.magnitudes(model, tensors, batches)

    monkeypatch.setattr(static, "magnitudes", record)
    quantize(plain("bert"), target)
    assert any("query/Add" in name for name in asked)
    assert not any("Softmax" in name for name in asked)


def test_where_a_few_values_dwarf_the_others_the_product_stays_float32(tmp_path: Path, target: Path) -> None:
    planted = tmp_path / "planted.onnx"
    save(plant_outliers(plain("bert"), factor=300), planted)  # in the values
    model = quantize(planted, target)
    quantized = [len(quantized_sides(model, name)) for name in attention_names("bert")]
    assert quantized == [2, 0, 2, 0]


def test_products_of_other_types_stay_as_they_are(tmp_path: Path, target: Path) -> None:
    nodes = [
        onnx.helper.make_node("Cast", ["copy"], ["whole"], to=onnx.TensorProto.DOUBLE),
        *heads("whole", "left", 0, 2, 1, 3),
        *heads("whole", "right", 0, 2, 3, 1),
        matmul("left", "right", "double"),
        onnx.helper.make_node("Cast", ["double"], ["z"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Transpose", ["copy"], ["square"], perm=[0, 2, 1]),
        matmul("copy", "square"),
    ]
    source = attend(tmp_path / "double.onnx", nodes, ("y", "z"))
    x = np.random.default_rng(0).standard_normal((1, TOKENS, SIZE)).astype(np.float32)
    quantize_static(source, target, [{"x": x}])  # type: ignore[dict-item]  # floats here
    assert sum(node.op_type == "QuantizeLinear" for node in load(target).graph.node) == 2
    np.testing.assert_array_equal(run(target, x)[1], run(source, x)[1])
