"""Calibration = what NumPy says of all activations at once, in memory that does not grow with the batches."""

from __future__ import annotations

import functools
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx.errors import ExportError, InputError
from qa_onnx.export import graph
from qa_onnx.export.calibrate import (
    METHODS,
    calibrate,
    channel_maxima,
    clip_mse,
    clip_percentile,
)
from qa_onnx.export.checkpoint import load_checkpoint
from qa_onnx.export.smooth import products
from tests.exports import checkpoint, ragged_batch, scratch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Batch = dict[str, NDArray[np.int64]]

pytestmark = pytest.mark.export

KINDS = ("bert", "roberta")
every_kind = pytest.mark.parametrize("kind", KINDS)


@functools.cache
def plain(kind: str) -> Path:
    """The unfused float32 graph of a tiny checkpoint; not to be changed."""
    path = scratch() / f"plain-{kind}.onnx"
    model, facts = load_checkpoint(checkpoint(kind), path)
    return graph.to_onnx(model, facts).path


def load(path: Path) -> Any:
    import onnx

    return onnx.load(path)


def batches_of(path: Path, kind: str) -> Callable[[], list[Batch]]:
    """A factory of three batches of unlike shape for a graph."""
    names = [value.name for value in load(path).graph.input]
    batch = ragged_batch(checkpoint(kind))
    parts = [{name: batch[name][rows] for name in names} for rows in (slice(0, 2), slice(2, 3), slice(3, None))]
    parts[1] = {name: array[:, :40] for name, array in parts[1].items()}
    return lambda: parts


def activations(path: Path, batches: Callable[[], list[Batch]]) -> dict[str, list[NDArray[np.float32]]]:
    """All values of the products' inputs, a list of arrays (..., C) for each, by ONNX Runtime itself."""
    import onnx
    import onnxruntime

    model = load(path)
    names = list(dict.fromkeys(product.tensor for product in products(model)))
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run(names, batch) for batch in batches()]
    return {name: [run[index] for run in runs] for index, name in enumerate(names)}


def gelu(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """By its approximation with a hyperbolic tangent."""
    tanh: NDArray[np.float64] = np.tanh(np.sqrt(2 / np.pi) * (values + 0.044715 * values**3))
    return values / 2 * (1 + tanh)


def byte_error(values: NDArray[np.float64], low: float, high: float) -> float:
    """Mean squared error of a quantization to 256 levels, done value by value."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    levels = np.clip(np.rint(values / scale) + zero, 0, 255)
    return float(np.mean(((levels - zero) * scale - values) ** 2))


@every_kind
def test_products_are_the_matmuls_with_a_constant_side(kind: str) -> None:
    found = products(load(plain(kind)))
    assert len(found) == 2 * 6 + 1  # two layers of query, key, value, output and two of the FFN; the logits
    assert {product.node.op_type for product in found} == {"MatMul"}
    assert all("attention/self/MatMul" not in product.node.name for product in found)


@every_kind
def test_minmax_and_channel_maxima_are_those_of_all_activations(kind: str) -> None:
    batches = batches_of(plain(kind), kind)
    expected = activations(plain(kind), batches)
    model = load(plain(kind))
    found = calibrate(model, list(expected), batches, method="minmax")
    maxima = channel_maxima(model, list(expected), batches)
    assert (found.method, found.batches) == ("minmax", 3)
    assert list(found.ranges) == list(expected)
    for name, arrays in expected.items():
        span = found.ranges[name]
        assert span.low == pytest.approx(min(array.min() for array in arrays), abs=1e-5)
        assert span.high == pytest.approx(max(array.max() for array in arrays), abs=1e-5)
        rows = np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])
        np.testing.assert_allclose(maxima[name], np.abs(rows).max(axis=0), atol=1e-5)


@every_kind
@pytest.mark.parametrize("percentile", [99.0, 99.9])
def test_percentile_is_numpys_to_a_bin(kind: str, percentile: float) -> None:
    batches = batches_of(plain(kind), kind)
    expected = activations(plain(kind), batches)
    found = calibrate(load(plain(kind)), list(expected), batches, method="percentile", percentile=percentile)
    for name, arrays in expected.items():
        values = np.concatenate([array.ravel() for array in arrays])
        low, high = np.percentile(values, [(100 - percentile) / 2, 50 + percentile / 2], method="inverted_cdf")
        # Between two neighbouring values any number is the quantile, hence the room beside a bin's width.
        room = 2 * np.ptp(values) / 2048 + 1e-5
        inside = ((values >= found.ranges[name].low - room) & (values <= found.ranges[name].high + room)).mean()
        assert inside >= percentile / 100 - 1e-9
        assert found.ranges[name].low >= values.min() - room
        assert low - 0.05 * np.ptp(values) <= found.ranges[name].low <= low + room
        assert high - room <= found.ranges[name].high <= high + 0.05 * np.ptp(values)


def test_percentile_of_a_known_histogram() -> None:
    counts = np.full(100, 10)
    edges = np.linspace(-50, 50, 101)
    span = clip_percentile(counts, edges, percentile=90)
    assert (span.low, span.high) == pytest.approx((-45, 45))
    whole = clip_percentile(counts, edges, percentile=100)
    assert (whole.low, whole.high) == pytest.approx((-50, 50))


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).standard_normal(40_000),
        np.random.default_rng(2).standard_t(3, 40_000),
        gelu(3 * np.random.default_rng(3).standard_normal(40_000)),
        np.concatenate((np.random.default_rng(4).standard_normal(40_000), [300.0])),
        np.random.default_rng(5).random(40_000) + 3,
        -np.random.default_rng(6).random(40_000) - 3,
    ],
    ids=["normal", "heavy tails", "after a GELU", "one outlier", "above zero", "below zero"],
)
def test_mse_is_nearly_the_best_of_a_brute_force_search(values: NDArray[np.float64]) -> None:
    counts, edges = np.histogram(values, bins=2048)
    span = clip_mse(counts, edges)
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    shrink = np.linspace(0.02, 1, 50)
    best = min(byte_error(values, low * left, high * right) for left in shrink for right in shrink)
    assert low <= span.low <= 0 <= span.high <= high
    # Values are known to a bin only, so a tie with the whole range can go either way.
    assert byte_error(values, span.low, span.high) <= 1.05 * best
    assert byte_error(values, span.low, span.high) <= 1.05 * byte_error(values, low, high)


def test_mse_of_a_tensor_that_is_constant() -> None:
    span = clip_mse(np.array([5, 0]), np.array([0.0, 0.0, 0.0]))
    assert (span.low, span.high) == (0, 0)


@pytest.mark.parametrize("method", METHODS)
def test_memory_does_not_grow_with_the_number_of_batches(method: str) -> None:
    model = load(plain("bert"))
    (batch, *_) = batches_of(plain("bert"), "bert")()
    tensors = list(dict.fromkeys(product.tensor for product in products(model)))
    peaks = []
    for count in (1, 4, 64):
        many = [batch] * count
        tracemalloc.start()
        calibrate(model, tensors, lambda many=many: iter(many), method=method)  # type: ignore[misc]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.05 * peaks[1] + 50_000


def test_the_model_is_left_as_it_is() -> None:
    model = load(plain("bert"))
    before = model.SerializeToString()
    calibrate(model, [products(model)[0].tensor], batches_of(plain("bert"), "bert"), method="mse")
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "entropy"}, "method is 'entropy'; choose from minmax, percentile, mse"),
        ({"method": "percentile", "percentile": 40}, "percentile is 40"),
        ({"method": "mse", "bins": 1}, "bins is 1"),
    ],
)
def test_refuses_options_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        calibrate(load(plain("bert")), [], list, **options)


def test_refuses_no_batches_and_batches_that_run_out() -> None:
    model = load(plain("bert"))
    tensors = [products(model)[0].tensor]
    with pytest.raises(InputError, match="no batches"):
        calibrate(model, tensors, list, method="minmax")
    with pytest.raises(InputError, match="no batches"):
        channel_maxima(model, tensors, list)
    once = iter(batches_of(plain("bert"), "bert")())
    with pytest.raises(InputError, match="gave 3 batches first and 0 then"):
        calibrate(model, tensors, lambda: once, method="mse")


def test_refuses_what_does_not_run() -> None:
    import onnx

    model = load(plain("bert"))
    batches = batches_of(plain("bert"), "bert")
    with pytest.raises(ExportError, match="does not load"):
        calibrate(model, ["no such tensor"], batches, method="minmax")
    tensor = products(model)[0].tensor
    with pytest.raises(ExportError, match="fails on a batch"):
        calibrate(model, [tensor], lambda: [{}], method="minmax")
    weight = next(value for value in model.graph.initializer if value.name == products(model)[0].weight)
    broken = np.full(tuple(weight.dims), np.inf, np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(broken, weight.name))
    with pytest.raises(ExportError, match="infinite or not a number"):
        calibrate(model, [products(model)[-1].tensor], batches, method="minmax")
