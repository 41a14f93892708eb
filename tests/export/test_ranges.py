"""Ranges of activations: those that NumPy finds in all values at once, in memory that batches do not add to."""

from __future__ import annotations

import functools
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx.errors import ExportError, InputError
from qa_onnx.export import graph
from qa_onnx.export.ranges import channel_maxima, magnitudes, tensor_ranges
from qa_onnx.export.smooth import products
from tests.exports import checkpoint, open_and_load, ragged_batch, scratch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Batch = dict[str, NDArray[np.int64]]

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[export]")
pytestmark = pytest.mark.export

KINDS = ("bert", "roberta")
every_kind = pytest.mark.parametrize("kind", KINDS)


@functools.cache
def plain(kind: str) -> Path:
    """The unfused float32 graph of a tiny checkpoint; not to be changed."""
    path = scratch() / f"plain-{kind}.onnx"
    model, facts = open_and_load(checkpoint(kind), path)
    return graph.to_onnx(model, facts).path


def load(path: Path) -> Any:
    return onnx.load(path)


def batches_of(path: Path, kind: str) -> list[Batch]:
    """Three batches of different shapes for a graph."""
    names = [value.name for value in load(path).graph.input]
    batch = ragged_batch(checkpoint(kind))
    parts = [{name: batch[name][rows] for name in names} for rows in (slice(0, 2), slice(2, 3), slice(3, None))]
    parts[1] = {name: array[:, :40] for name, array in parts[1].items()}
    return parts


def activations(path: Path, batches: list[Batch]) -> dict[str, list[NDArray[np.float32]]]:
    """All values of the products' inputs, a list of arrays (..., C) for each, by ONNX Runtime itself."""
    import onnxruntime

    model = load(path)
    names = list(dict.fromkeys(product.tensor for product in products(model)))
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run(names, batch) for batch in batches]
    return {name: [run[index] for run in runs] for index, name in enumerate(names)}


@every_kind
def test_products_are_the_matmuls_with_a_constant_side(kind: str) -> None:
    found = products(load(plain(kind)))
    assert len(found) == 2 * 6 + 1  # two layers of query, key, value, output and two of the FFN; the logits
    assert {product.node.op_type for product in found} == {"MatMul"}
    assert all("attention/self/MatMul" not in product.node.name for product in found)


@every_kind
def test_ranges_and_channel_maxima_are_those_of_all_activations(kind: str) -> None:
    batches = batches_of(plain(kind), kind)
    expected = activations(plain(kind), batches)
    model = load(plain(kind))
    ranges = tensor_ranges(model, list(expected), batches)
    maxima = channel_maxima(model, list(expected), batches)
    sizes = magnitudes(model, list(expected), batches)
    assert list(ranges) == list(expected)
    for name, arrays in expected.items():
        span = ranges[name]
        assert span.low == pytest.approx(min(array.min() for array in arrays), abs=1e-5)
        assert span.high == pytest.approx(max(array.max() for array in arrays), abs=1e-5)
        size = sizes[name]
        assert size.largest == pytest.approx(max(np.abs(array).max() for array in arrays), abs=1e-5)
        assert size.median == pytest.approx(np.mean([np.median(np.abs(array)) for array in arrays]), abs=1e-5)
        rows = np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])
        np.testing.assert_allclose(maxima[name], np.abs(rows).max(axis=0), atol=1e-5)


def test_memory_does_not_grow_with_the_number_of_batches() -> None:
    model = load(plain("bert"))
    (batch, *_) = batches_of(plain("bert"), "bert")
    tensors = list(dict.fromkeys(product.tensor for product in products(model)))
    peaks = []
    for count in (1, 4, 64):
        tracemalloc.start()
        tensor_ranges(model, tensors, [batch] * count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.05 * peaks[1] + 50_000


def test_the_model_is_left_as_it_is() -> None:
    model = load(plain("bert"))
    before = model.SerializeToString()
    tensor_ranges(model, [products(model)[0].tensor], batches_of(plain("bert"), "bert"))
    assert model.SerializeToString() == before


def test_refuses_what_does_not_run() -> None:
    model = load(plain("bert"))
    batches = batches_of(plain("bert"), "bert")
    tensor = products(model)[0].tensor
    for function in (tensor_ranges, channel_maxima):
        with pytest.raises(InputError, match="no text to run the graph on: give at least one batch"):
            function(model, [tensor], [])
    with pytest.raises(ExportError, match="does not load"):
        tensor_ranges(model, ["no such tensor"], batches)
    with pytest.raises(ExportError, match=r"fails on a sample of text.*input_ids"):
        tensor_ranges(model, [tensor], [{}])
    weight = next(value for value in model.graph.initializer if value.name == products(model)[0].weight)
    broken = np.full(tuple(weight.dims), np.inf, np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(broken, weight.name))
    with pytest.raises(ExportError, match="infinite or not a number"):
        tensor_ranges(model, [products(model)[-1].tensor], batches)
