"""Batches of text -> ranges of activations, for a static quantization.

The wanted tensors become outputs of the graph and are reduced batch by batch, so memory holds the activations of
one batch, whatever the number of batches. Nothing is clipped: ranges that cut off a percentile, or that minimize
the squared error, moved the logits further than the coarser steps of the whole range do.

Left out: which tensors need a range (static.py, smooth.py). Batches are taken as they are: those with little
padding say most about real text.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from qa_onnx.errors import ExportError, InputError
from qa_onnx.export.graph import is_large, save
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Inputs: TypeAlias = Mapping[str, NDArray[np.int64]]
    Batches: TypeAlias = Iterable[Inputs]


_CPU = ["CPUExecutionProvider"]


class TensorRange(NamedTuple):
    """The smallest and the largest value of an activation."""

    low: float
    high: float


class Magnitude(NamedTuple):
    """The median of an activation's absolute values, as a mean over batches, and the largest of them."""

    median: float
    largest: float


def tensor_ranges(model: Any, tensors: Collection[str], batches: Batches) -> dict[str, TensorRange]:
    """Return the range of each tensor over batches of text.

    Args:
        model: a float32 ONNX model.
        tensors: names of float32 tensors in it.
        batches: int64 (B, T) under each of the graph's inputs.

    Raises:
        InputError: there are no batches.
        ExportError: a tensor is not in the model, the model does not run, or a value is not finite.
    """
    ranges = dict.fromkeys(tensors, TensorRange(np.inf, -np.inf))
    for name, values in _activations(model, tensors, batches):
        low, high = ranges[name]
        ranges[name] = TensorRange(min(low, float(values.min())), max(high, float(values.max())))
    return ranges


def channel_maxima(model: Any, tensors: Collection[str], batches: Batches) -> dict[str, NDArray[np.float32]]:
    """Return the largest absolute value of every channel of each tensor: float32 (C,).

    A channel is an index of the last axis. Arguments and errors are those of `tensor_ranges`.
    """
    maxima: dict[str, NDArray[np.float32]] = {}
    for name, values in _activations(model, tensors, batches):
        largest = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
        maxima[name] = np.maximum(maxima.get(name, largest), largest)
    return maxima


def magnitudes(model: Any, tensors: Collection[str], batches: Batches) -> dict[str, Magnitude]:
    """Return the magnitude of each tensor that is float32 over batches of text; see `tensor_ranges`."""
    medians: dict[str, list[float]] = {}
    largest: dict[str, float] = {}
    for name, values in _activations(model, tensors, batches):
        if values.dtype == np.float32:
            sizes = np.abs(values)
            medians.setdefault(name, []).append(float(np.median(sizes)))
            largest[name] = max(largest.get(name, 0.0), float(sizes.max()))
    return {name: Magnitude(float(np.mean(medians[name])), largest[name]) for name in largest}


def _activations(
    model: Any, tensors: Collection[str], batches: Batches
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the name and the values of each tensor, for every batch."""
    names = list(tensors)
    if not names:  # none are all outputs, to ONNX Runtime
        return
    for arrays in run_batches(open_model(model, outputs=names), names, batches):
        for name, values in zip(names, arrays, strict=True):
            if not np.isfinite(values).all():
                raise ExportError(f"{name} is infinite or not a number on a sample of text")
            yield name, values


def open_model(model: Any, *, outputs: Collection[str], optimize: bool = True) -> Any:
    """Open an ONNX model in an ONNX Runtime session on the CPU, with inner tensors as outputs of the graph too.

    Args:
        model: an ONNX model; it is not changed.
        outputs: names of tensors in it.
        optimize: use ONNX Runtime's graph optimizations.

    Raises:
        ExportError: it does not load.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = cpu.default_threads()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    declared = [value.name for value in model.graph.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in declared)
    try:
        if not is_large(model):
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=_CPU)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            large = onnx.ModelProto()
            large.CopyFrom(model)  # saving takes the weights out of it
            save(large, path)
            return onnxruntime.InferenceSession(path, options, providers=_CPU)
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise ExportError(f"the graph does not load with inner tensors as outputs: {error}") from error
    finally:
        del model.graph.output[len(declared) :]


def run_batches(session: Any, outputs: Sequence[str], batches: Batches) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the outputs of an ONNX Runtime session for every batch.

    Raises:
        InputError: there are no batches.
        ExportError: the model does not run, or a batch lacks one of its inputs.
    """
    declared, batch = [value.name for value in session.get_inputs()], None
    for batch in batches:
        try:
            yield session.run(outputs, {name: batch[name] for name in declared})
        except Exception as error:  # onnxruntime's own, and KeyError
            raise ExportError(f"the graph fails on a sample of text: {error!r}") from error
    if batch is None:
        raise InputError("there is no text to run the graph on", remedy="give at least one batch")
