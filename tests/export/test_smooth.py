"""Smoothing keeps the function, evens out channels, and divides where that is exact."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx.export import smooth as smoothing
from qa_onnx.export.ranges import channel_maxima
from qa_onnx.export.smooth import products
from tests.export.test_ranges import batches_of, every_kind, load, plain
from tests.exports import set_weight, weight

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[export]")
pytestmark = pytest.mark.export


def run(model: Any, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Outputs of a model, stacked."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.stack(session.run(None, dict(inputs)))


def smooth(model: Any, maxima: Mapping[str, NDArray[np.float32]], **options: Any) -> Any:
    """A smoothed copy of a model."""
    model = copy.deepcopy(model)
    smoothing.smooth(model, maxima, **options)
    return model


def tensors_of(model: Any) -> list[str]:
    return list(dict.fromkeys(product.tensor for product in products(model)))


def plant_outliers(path: Path, factor: float = 50) -> Any:
    """A graph, the same function, with some channels of each attention's result a factor larger.

    The values of attention are linear in its value projection, so a channel there can be scaled up and the
    row of the output projection that reads it scaled down.
    """
    model = load(path)
    for product in products(model):
        if "attention/self/value" in product.node.name:  # its bias is zero in a fresh model
            columns = weight(model, product.weight)
            columns[:, [3, 17]] *= factor
            set_weight(model, product.weight, columns)
        if "attention/output/dense" in product.node.name:
            rows = weight(model, product.weight)
            rows[[3, 17]] /= factor
            set_weight(model, product.weight, rows)
    return model


def normalized(*, decomposed: bool, residual: bool) -> Any:
    """x -> layer normalization with outlier channels -> two products -> their sum, if wanted plus the residual."""
    random = np.random.default_rng(0)
    scale, bias = random.uniform(0.5, 1, 8), random.standard_normal(8)
    scale[2] *= 50
    weights = [random.standard_normal((8, 8)) for _ in range(2)]
    for matrix in weights:
        matrix[2] /= 50
    arrays = {"scale": scale, "bias": bias, "a": weights[0], "b": weights[1], "epsilon": 1e-12, "two": 2.0}
    arrays["offset"] = random.standard_normal(8)
    if decomposed:
        nodes = [
            onnx.helper.make_node("ReduceMean", ["x"], ["mean"], axes=[-1]),
            onnx.helper.make_node("Sub", ["x", "mean"], ["centred"]),
            onnx.helper.make_node("Pow", ["centred", "two"], ["squared"]),
            onnx.helper.make_node("ReduceMean", ["squared"], ["variance"], axes=[-1]),
            onnx.helper.make_node("Add", ["variance", "epsilon"], ["positive"]),
            onnx.helper.make_node("Sqrt", ["positive"], ["deviation"]),
            onnx.helper.make_node("Div", ["centred", "deviation"], ["standard"]),
            onnx.helper.make_node("Mul", ["standard", "scale"], ["scaled"]),
            onnx.helper.make_node("Add", ["scaled", "bias"], ["normal"]),
        ]
    else:
        nodes = [onnx.helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["normal"])]
    nodes += [onnx.helper.make_node("MatMul", ["normal", side], [f"x{side}"], name=side) for side in "ab"]
    nodes.append(onnx.helper.make_node("Add", ["xa", "xb"], ["sum"]))
    nodes.append(onnx.helper.make_node("Add", ["sum", "normal" if residual else "offset"], ["y"]))
    names = [name for name in arrays if any(name in node.input for node in nodes)]
    graph = onnx.helper.make_graph(
        nodes,
        "normalized",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 8])],
        [onnx.numpy_helper.from_array(np.asarray(arrays[name], np.float32), name) for name in names],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


INPUTS = {"x": np.random.default_rng(1).standard_normal((64, 8)).astype(np.float32)}


@every_kind
@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_the_function_stays_the_same(kind: str, alpha: float) -> None:
    model, batches = load(plain(kind)), batches_of(plain(kind), kind)
    smoothed = smooth(model, channel_maxima(model, tensors_of(model), batches), alpha=alpha)
    for name in {product.weight for product in products(model)}:
        assert not np.array_equal(weight(smoothed, name), weight(model, name))
    for batch in batches:
        np.testing.assert_allclose(run(smoothed, batch), run(model, batch), atol=1e-4)


@every_kind
def test_planted_outliers_are_evened_out(kind: str) -> None:
    model, batches = plant_outliers(plain(kind)), batches_of(plain(kind), kind)
    for batch in batches:  # planting itself changes nothing
        np.testing.assert_allclose(run(model, batch), run(load(plain(kind)), batch), atol=1e-4)
    tensors = tensors_of(model)
    maxima = channel_maxima(model, tensors, batches)
    smoothed = smooth(model, maxima, alpha=0.5)
    after = channel_maxima(smoothed, tensors_of(smoothed), batches)
    outputs = [product.tensor for product in products(model) if "attention/output/dense" in product.node.name]
    assert outputs
    for name in outputs:
        assert spread(maxima[name]) > 10
        assert spread(after[f"{name}_smooth"]) < 4


def spread(maxima: NDArray[np.float32]) -> float:
    """How far the largest channel stands out."""
    return float(maxima.max() / np.median(maxima))


@pytest.mark.parametrize("decomposed", [False, True])
def test_division_goes_into_a_layer_normalization_that_nothing_else_reads(decomposed: bool) -> None:
    model = normalized(decomposed=decomposed, residual=False)
    maxima = channel_maxima(model, ["normal"], [INPUTS])  # type: ignore[list-item]  # floats here
    smoothed = smooth(model, maxima, alpha=0.5)
    assert len(smoothed.graph.node) == len(model.graph.node)
    np.testing.assert_allclose(run(smoothed, INPUTS), run(model, INPUTS), atol=1e-4)
    after = channel_maxima(smoothed, ["normal"], [INPUTS])  # type: ignore[list-item]
    assert spread(maxima["normal"]) > 15
    assert spread(after["normal"]) < 3


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("why", ["residual", "output", "kept", "shared scale"])
def test_products_get_one_mul_where_folding_would_change_something_else(decomposed: bool, why: str) -> None:
    model = normalized(decomposed=decomposed, residual=why == "residual")
    if why == "output":
        model.graph.output.append(onnx.helper.make_tensor_value_info("normal", onnx.TensorProto.FLOAT, ["n", 8]))
    if why == "shared scale":
        model.graph.node[-1].input[1] = "scale"
    maxima = channel_maxima(model, ["normal"], [INPUTS])  # type: ignore[list-item]
    smoothed = smooth(model, maxima, alpha=0.5, exclude=["a"] if why == "kept" else [])
    assert len(smoothed.graph.node) == len(model.graph.node) + 1
    np.testing.assert_allclose(run(smoothed, INPUTS), run(model, INPUTS), atol=1e-4)
    if why == "kept":
        np.testing.assert_array_equal(weight(smoothed, "a"), weight(model, "a"))


def test_a_matrix_that_two_tensors_share_is_left_alone() -> None:
    model = normalized(decomposed=False, residual=False)
    model.graph.node[2].input[:] = ["x", "a"]
    maxima = channel_maxima(model, ["normal", "x"], [INPUTS])  # type: ignore[list-item]
    smoothed = smooth(model, maxima, alpha=0.5)
    assert smoothed == model


def test_channels_that_are_never_active_do_no_harm() -> None:
    model = normalized(decomposed=False, residual=True)
    maxima = {"normal": np.array([0, 1, 0, 1, 1, 1, 1, 1], np.float32)}
    set_weight(model, "b", weight(model, "b") * np.array([0, 0, 1, 1, 1, 1, 1, 1])[:, None])
    set_weight(model, "a", weight(model, "a") * np.array([0, 0, 1, 1, 1, 1, 1, 1])[:, None])
    smoothed = smooth(model, maxima, alpha=0.5)
    np.testing.assert_allclose(run(smoothed, INPUTS), run(model, INPUTS), atol=1e-4)
