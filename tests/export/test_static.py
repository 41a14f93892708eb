"""int8-static is standard ONNX that runs anywhere near float32, keeps what it is told, and gains by smoothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.errors import ExportError
from qa_onnx.export import static
from qa_onnx.export.graph import save
from qa_onnx.export.smooth import products
from qa_onnx.export.static import quantizable, quantizable_names, quantize_static
from tests.export.test_ranges import batches_of, every_kind, load, plain
from tests.export.test_smooth import plant_outliers
from tests.exports import checkpoint, logits, ragged_batch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[export]")
pytestmark = [pytest.mark.export, pytest.mark.cpu]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "static.onnx"


@pytest.fixture
def rough(monkeypatch: pytest.MonkeyPatch) -> None:
    """No smoothing."""
    monkeypatch.setattr(static, "smooth", lambda *_, **__: None)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in load(path).graph.node)


def quantized(path: Path) -> Counter[str]:
    """How many nodes of each operator read int8 weights."""
    model = load(path)
    weights = {value.name for value in model.graph.initializer if value.data_type == 3}  # int8
    dequantized = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    return Counter(
        node.op_type
        for node in model.graph.node
        if dequantized & set(node.input) or (node.op_type == "Gather" and node.input[0] in weights)
    )


def error(path: Path, reference: Path, batch: dict[str, NDArray[np.int64]]) -> float:
    """Mean squared difference of two graphs' logits on the real tokens of a batch."""
    return float(np.mean((logits(path, batch) - logits(reference, batch)) ** 2))


@every_kind
def test_logits_follow_float32(kind: str, target: Path) -> None:
    batches = batches_of(plain(kind), kind)
    quantize_static(plain(kind), target, batches)
    assert quantized(target) == {"Gather": 3, "MatMul": 12}
    for batch in batches:
        ours, theirs = logits(target, batch), logits(plain(kind), batch)
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.95


@every_kind
def test_is_standard_onnx_that_runs_on_any_shape(kind: str, target: Path) -> None:
    quantize_static(plain(kind), target, batches_of(plain(kind), kind))
    model = load(target)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version <= 10
    session = OnnxSession(target, threads=1)
    assert session.input_names == OnnxSession(plain(kind), threads=1).input_names
    for shape in ((1, 5), (3, 60), (7, 1)):
        batch = {name: np.ones(shape, np.int64) for name in session.input_names}
        start, end = session.run(batch)
        assert start.shape == end.shape == shape


@every_kind
@pytest.mark.usefixtures("rough")
def test_weights_are_symmetric_with_7_bits_and_a_scale_for_every_channel(kind: str, target: Path) -> None:
    quantize_static(plain(kind), target, batches_of(plain(kind), kind))
    arrays = {value.name: onnx.numpy_helper.to_array(value) for value in load(target).graph.initializer}
    before = {value.name: onnx.numpy_helper.to_array(value) for value in load(plain(kind)).graph.initializer}
    matrices = [node.input for node in load(target).graph.node if node.op_type == "DequantizeLinear"]
    checked = 0
    for levels, scales, zeros in matrices:
        if levels in arrays:
            checked += 1
            assert arrays[levels].dtype == np.int8
            assert not arrays[zeros].any()
            matrix = before[levels.removesuffix("_int8_1")]
            np.testing.assert_allclose(arrays[scales], np.abs(matrix).max(axis=0) / 64, rtol=1e-6)
            off = np.abs(arrays[levels] * arrays[scales] - matrix)
            assert (off <= arrays[scales] * 0.501).all()
    assert checked == 12
    assert target.stat().st_size < 0.65 * plain(kind).stat().st_size
    activations = {
        array.dtype for name, array in arrays.items() if name.endswith(("_output_0_zero", "_smooth_zero"))
    }
    assert activations == {np.dtype(np.uint8)}


def test_onnxruntime_multiplies_integers(target: Path, tmp_path: Path) -> None:
    import onnxruntime

    quantize_static(plain("bert"), target, batches_of(plain("bert"), "bert"))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(target, options, providers=["CPUExecutionProvider"])
    assert (
        operators(tmp_path / "optimized.onnx")["MatMulIntegerToFloat"] == 12 + 4
    )  # with matrices, and in attention


@every_kind
def test_kept_nodes_stay_as_they_were(kind: str, target: Path) -> None:
    model = load(plain(kind))
    exclude = [product.node.name for product in products(model) if "layer.0" in product.node.name]
    exclude += [node.name for node in model.graph.node if node.op_type == "Gather" and "word" in node.name]
    assert len(exclude) == 7
    quantize_static(plain(kind), target, batches_of(plain(kind), kind), exclude=exclude)
    assert quantized(target)["MatMul"] == 6
    after = {node.name: node for node in load(target).graph.node}
    initializers = {value.name: value for value in load(target).graph.initializer}
    for node in model.graph.node:
        if node.name in exclude:
            assert after[node.name] == node
            for name in node.input:
                weight = next((value for value in model.graph.initializer if value.name == name), None)
                assert weight is None or initializers[name] == weight
    tensors = [product.tensor for product in quantizable(model, exclude)]
    assert tensors
    assert all("layer.0" not in name or name.endswith("LayerNormalization_output_0") for name in tensors)


def test_only_the_logits_stay_float32(target: Path) -> None:
    quantize_static(plain("bert"), target, batches_of(plain("bert"), "bert"))
    model = load(target)
    dequantized: set[str] = set()
    for node in model.graph.node:
        moves = node.op_type in {"Reshape", "Transpose"} and node.input[0] in dequantized
        if moves or node.op_type == "DequantizeLinear":
            dequantized.add(node.output[0])
    floats = [n.name for n in model.graph.node if n.op_type == "MatMul" and not dequantized & set(n.input)]
    assert floats == ["/model/qa_outputs/MatMul"]


@every_kind
def test_smoothing_helps_where_channels_stand_out(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    planted = tmp_path / "planted.onnx"
    save(plant_outliers(plain(kind), factor=200), planted)
    batches = batches_of(planted, kind)
    whole = {name: ragged_batch(checkpoint(kind))[name] for name in batches[0]}
    quantize_static(planted, tmp_path / "smooth.onnx", batches)
    request.getfixturevalue("rough")
    quantize_static(planted, tmp_path / "rough.onnx", batches)
    smoothed, naive = (error(tmp_path / f"{name}.onnx", planted, whole) for name in ("smooth", "rough"))
    assert smoothed < 0.5 * naive


def test_gemm_with_a_transposed_matrix(target: Path, tmp_path: Path) -> None:
    import onnxruntime

    random = np.random.default_rng(0)
    weight, bias = random.standard_normal((12, 8)).astype(np.float32), np.ones(12, np.float32)
    nodes = [
        onnx.helper.make_node("Identity", ["x"], ["copy"]),  # a range is of a tensor inside the graph
        onnx.helper.make_node("Gemm", ["copy", "weight", "bias"], ["y"], name="gemm", transB=1),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "gemm",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 12])],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    source = tmp_path / "gemm.onnx"
    save(model, source)
    x = random.standard_normal((32, 8)).astype(np.float32)
    quantize_static(source, target, [{"x": x}])  # type: ignore[dict-item]  # floats here
    assert quantized(target) == {"Gemm": 1}
    (found,) = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_allclose(found, x @ weight.T + bias, atol=0.2)


def test_refuses_what_it_cannot_quantize(target: Path, tmp_path: Path) -> None:
    batches = batches_of(plain("bert"), "bert")
    everything = quantizable_names(plain("bert"))
    with pytest.raises(ExportError, match="no product that can be quantized"):
        quantize_static(plain("bert"), target, batches, exclude=everything)
    old = load(plain("bert"))
    old.opset_import[0].version = 12
    save(old, tmp_path / "old.onnx")
    with pytest.raises(ExportError, match="opset 12; int8-static needs 13"):
        quantize_static(tmp_path / "old.onnx", target, batches)
    assert not target.exists()
