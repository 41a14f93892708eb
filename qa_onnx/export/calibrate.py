"""Windows of text -> ranges of activations, for a static quantization.

The tensors asked for become outputs of the graph and are reduced batch by batch: one pass finds each one's
minimum and maximum, a second one counts its values in bins between them. So memory holds one batch's
activations, whatever the number of batches. How a range is then cut is a choice of method:

    minmax      nothing is clipped: one outlier stretches the steps of all other values
    percentile  a fixed share of the values is inside
    mse         clipping and rounding together cost least

Left out: which tensors need a range (smooth.py, static.py), and padding: batches are taken as they are, so
those with little of it say most about real text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qa_onnx.errors import ExportError, InputError
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    Inputs: TypeAlias = Mapping[str, NDArray[np.int64]]
    Batches: TypeAlias = Callable[[], Iterable[Inputs]]

METHODS = ("minmax", "percentile", "mse")
DEFAULT_PERCENTILE = 99.99
DEFAULT_BINS = 2048
LEVELS = 255  # steps between the 256 values of a byte
_FRACTIONS = np.geomspace(1, 0.01, 64)  # of a range's end, about 7 % apart


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The values of an activation that quantization has to tell apart; all others are clipped to it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The range of each tensor, the method it was found by, and how many batches each pass read."""

    ranges: dict[str, TensorRange]
    method: str
    batches: int


def calibrate(
    model: Any,
    tensors: Collection[str],
    batches: Batches,
    *,
    method: str,
    percentile: float = DEFAULT_PERCENTILE,
    bins: int = DEFAULT_BINS,
) -> Calibration:
    """Find the range of tensors over batches of text.

    Args:
        model: a float32 ONNX model.
        tensors: names of float32 tensors in it.
        batches: gives the same batches at every call: int64 (B, T) under each of the graph's inputs. All
            methods but minmax call it twice.
        method: of `METHODS`.
        percentile: of the values, those inside the range; as many are cut off below as above.
        bins: of a histogram.

    Raises:
        InputError: an argument is out of range, or there are no batches, or other ones at the second call.
        ExportError: a tensor is not in the model, the model does not run, or gives what is not a number.
    """
    _check(method, percentile, bins)
    run = _probe(model, tensors)
    lows, highs, read = _extremes(run, tensors, batches)
    whole = {name: TensorRange(lows[name], highs[name]) for name in tensors}
    if method == "minmax":
        return Calibration(whole, method, read)
    counts = {name: np.zeros(bins, np.int64) for name in tensors}
    again = 0
    for values in _activations(run, batches):
        again += 1
        for name, array in values.items():
            counts[name] += _count(array, whole[name], bins)
    if again != read:
        raise InputError(
            f"batches gave {read} batches first and {again} then; it must give the same at every call"
        )
    clip = clip_mse if method == "mse" else lambda *histogram: clip_percentile(*histogram, percentile=percentile)
    ranges = {
        name: clip(count, np.linspace(whole[name].low, whole[name].high, bins + 1))
        for name, count in counts.items()
    }
    return Calibration(ranges, method, read)


def channel_maxima(model: Any, tensors: Collection[str], batches: Batches) -> dict[str, NDArray[np.float32]]:
    """Largest absolute value of every channel, the last axis, of tensors over batches of text.

    Args:
        model: a float32 ONNX model.
        tensors: names of float32 tensors (..., C) in it.
        batches: see `calibrate`; called once.

    Returns:
        float32 (C,) under each name.

    Raises:
        InputError: there are no batches.
        ExportError: see `calibrate`.
    """
    maxima: dict[str, NDArray[np.float32]] = {}
    for values in _activations(_probe(model, tensors), batches):
        for name, array in values.items():
            largest = np.abs(array).reshape(-1, array.shape[-1]).max(axis=0)
            maxima[name] = np.maximum(maxima[name], largest) if name in maxima else largest
    if len(maxima) < len(set(tensors)):
        raise InputError("there are no batches to calibrate with; give at least one")
    return maxima


def clip_percentile(counts: NDArray[np.int64], edges: NDArray[np.float64], *, percentile: float) -> TensorRange:
    """The range that holds a share of the values of a histogram, with tails of equal weight.

    Args:
        counts: int64 (N,), the histogram.
        edges: float64 (N + 1,), of its bins, ascending.
        percentile: the share in per cent.
    """
    shares = np.concatenate(([0.0], np.cumsum(counts) / counts.sum()))
    tail = (1 - percentile / 100) / 2
    low, high = np.interp((tail, 1 - tail), shares, edges)
    return TensorRange(float(low), float(high))


def clip_mse(counts: NDArray[np.int64], edges: NDArray[np.float64]) -> TensorRange:
    """The range whose quantization to 8 bits has the least mean squared error over a histogram.

    Both ends are tried at geometric fractions of the whole range, every one with every other; the middle of
    each bin is rounded and clipped as the engine will. The usual step^2 / 12 for rounding would not do: half of
    a GELU's values lie so near to zero that they cost less. The objective is that of Banner et al. 2019, arXiv
    1810.05723, which put an analytic distribution in the histogram's place.

    Args:
        counts: int64 (N,), the histogram.
        edges: float64 (N + 1,), of its bins, ascending.
    """
    centres = ((edges[:-1] + edges[1:]) / 2)[counts > 0]
    weights = counts[counts > 0].astype(np.float64)
    low, high = min(edges[0], 0.0), max(edges[-1], 0.0)  # zero is always in the range: it must be exact
    best = (np.inf, low, high)
    if low == high:
        return TensorRange(low, high)
    highs = high * _FRACTIONS if high else np.zeros(1)
    for lowest in low * _FRACTIONS if low else np.zeros(1):
        scales = ((highs - lowest) / LEVELS)[:, None]
        zeros = np.rint(-lowest / scales)
        levels = np.clip(np.rint(centres / scales) + zeros, 0, LEVELS)  # (fractions, bins)
        errors = ((levels - zeros) * scales - centres) ** 2 @ weights
        least = int(np.argmin(errors))
        best = min(best, (float(errors[least]), float(lowest), float(highs[least])))
    return TensorRange(*best[1:])


def _check(method: str, percentile: float, bins: int) -> None:
    if method not in METHODS:
        raise InputError(f"method is {method!r}; choose from {', '.join(METHODS)}")
    if not 50 < percentile <= 100:
        raise InputError(f"percentile is {percentile}; it must lie between 50 and 100, such as 99.99")
    if bins < 2:
        raise InputError(f"bins is {bins}; it must be at least 2")


def _probe(model: Any, tensors: Collection[str]) -> Callable[[Inputs], dict[str, NDArray[np.float32]]]:
    """A function from a batch to the values of tensors inside the graph."""
    import onnx
    import onnxruntime

    outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors]
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    present = {value.name for value in graph.output}
    graph.output.extend(value for value in outputs if value.name not in present)
    exposed = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = cpu.default_threads()
    names = list(tensors)
    try:
        session = onnxruntime.InferenceSession(
            exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise ExportError(f"the graph does not load with {len(names)} of its tensors exposed: {error}") from error

    def run(inputs: Inputs) -> dict[str, NDArray[np.float32]]:
        try:
            return dict(zip(names, session.run(names, dict(inputs)), strict=True))
        except Exception as error:
            raise ExportError(f"the graph fails on a batch of the calibration: {error}") from error

    return run


def _activations(
    run: Callable[[Inputs], dict[str, NDArray[np.float32]]], batches: Batches
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """The tensors' values of every batch, checked."""
    for inputs in batches():
        values = run(inputs)
        for name, array in values.items():
            if not np.isfinite(array).all():
                raise ExportError(f"{name} is infinite or not a number on a text of the calibration")
        yield values


def _extremes(
    run: Callable[[Inputs], dict[str, NDArray[np.float32]]], tensors: Collection[str], batches: Batches
) -> tuple[dict[str, float], dict[str, float], int]:
    """Minimum and maximum of each tensor, and the number of batches."""
    lows, highs = dict.fromkeys(tensors, np.inf), dict.fromkeys(tensors, -np.inf)
    read = 0
    for values in _activations(run, batches):
        read += 1
        for name, array in values.items():
            lows[name] = min(lows[name], float(array.min()))
            highs[name] = max(highs[name], float(array.max()))
    if not read:
        raise InputError("there are no batches to calibrate with; give at least one")
    return lows, highs, read


def _count(array: NDArray[np.float32], span: TensorRange, bins: int) -> NDArray[np.int64]:
    """Histogram of an array, int64 (bins,), faster than NumPy's, which searches for exact edges."""
    width = span.high - span.low
    if not width:
        return np.bincount([0], weights=[array.size], minlength=bins).astype(np.int64)
    places = ((array.ravel() - np.float32(span.low)) * np.float32(bins / width)).astype(np.int32)
    return np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
