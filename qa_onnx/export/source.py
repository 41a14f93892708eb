"""A checkpoint or a finished ONNX model -> a float32 graph that gives the logits of its source.

    load -> run the source on real text -> fuse -> compare

Left out: the other precisions, which are made from this graph (precisions.py).
"""

from __future__ import annotations

import logging
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.engines.onnx_runtime import import_onnxruntime
from qa_onnx.errors import EngineError, ExportError, InputError
from qa_onnx.evaluation import golden
from qa_onnx.export import graph, parity
from qa_onnx.export.checkpoint import load_checkpoint, load_model
from qa_onnx.export.finished import find_onnx, load_finished
from qa_onnx.export.graph import GraphFile
from qa_onnx.export.locate import check_name
from qa_onnx.export.opened import check_folder, open_checkpoint
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from os import PathLike

    from qa_onnx.bundle.manifest import Manifest
    from qa_onnx.export.model import SourceModel
    from qa_onnx.session import Session

_LOG = logging.getLogger(__name__)

DEFAULT_MAX_LENGTH = 384


def check_source(checkpoint: str | PathLike[str]) -> None:
    """Refuse a source that cannot be exported here, as far as that is visible before it is loaded.

    Raises:
        MissingExtraError: packages are not installed.
        ExportError: it does not exist, or is not safe to load.
        EngineError: ONNX Runtime is installed twice.
    """
    if find_onnx(Path(checkpoint)):
        require("quantize", onnxruntime=True)
    else:
        require("export", onnxruntime=True)
        check_name(str(checkpoint))
        if Path(checkpoint).is_dir():
            check_folder(Path(checkpoint))
    import_onnxruntime()  # before other packages do: a process's first import decides about telemetry


def load_source(checkpoint: str | PathLike[str], target: Path, opset: int) -> tuple[SourceModel, str, Session]:
    """Load the source and write its float32 graph.

    Args:
        checkpoint: a folder or hub id of a question answering model, or a folder with model.onnx.
        target: the graph's file.
        opset: of the standard ONNX operators.

    Returns:
        The model, the name of the source's own runtime, and a session that runs the source in it.

    Raises:
        MissingExtraError: a package is not installed.
        ExportError: the source does not exist, is not a question answering model, or is not safe to load.
    """
    finished = find_onnx(Path(checkpoint))
    if finished:
        _LOG.info("reading %s", finished)
        model = load_finished(Path(checkpoint), finished, target)
        try:
            return model, "the source ONNX model", OnnxSession(target)
        except EngineError as error:
            raise ExportError(f"{finished}: {error}") from error
    started = time.perf_counter()
    opened = open_checkpoint(checkpoint)
    torch_model, model = load_checkpoint(opened, target)
    model = graph.to_onnx(torch_model, model, opset=opset)
    shape = model.architecture
    _LOG.info(
        "%s: %s with %d layers, %.1f million weights, to ONNX in %.1f s",
        *(model.source.name, shape["model_type"], shape["layers"], shape["parameters"] / 1e6),
        time.perf_counter() - started,
    )
    del torch_model  # tracing changes some kinds of models for good: the reference is a fresh one
    fresh, _ = load_model(opened, attention="eager")
    opened.refuse_changed()
    session = parity.RunnerSession(model.inputs, parity.torch_runner(fresh))
    return model, f"PyTorch {metadata.version('torch')}", session


def window_length(model: SourceModel, old: Manifest | None, wanted: int | None) -> int:
    """Return the tokens of a window: as wanted, as in the bundle that is added to, or the default.

    Raises:
        InputError: the model cannot read windows of the wanted length.
        ExportError: the model cannot read the windows of the golden examples.
    """
    name, most = model.source.name, model.max_positions
    if most < golden.OPTIONS.max_length:
        raise ExportError(f"{name} reads at most {most} tokens; at least {golden.OPTIONS.max_length} are needed")
    if wanted is None:
        return old.max_length if old else min(DEFAULT_MAX_LENGTH, most)
    if wanted > most:
        raise InputError(f"max_length is {wanted}; {name} reads at most {most} tokens")
    return wanted


def float32_graph(
    model: SourceModel, expected: parity.Reference, target: Path, *, fusion: bool, require_fusion: bool
) -> GraphFile:
    """Choose the float32 graph: fused if that works, else as it was exported; never one with other logits.

    Args:
        model: the source model.
        expected: the source's logits.
        target: file for the fused graph.
        fusion: try to fuse.
        require_fusion: fail if a layer that should be fused is not.

    Raises:
        ParityError: not even the graph without fusion gives the source's logits.
        ExportError: `require_fusion` is set and fusion fails or misses a layer.
    """
    import onnx

    if fusion:
        try:
            nodes = graph.fuse(model, target)
            parity.require_fp32(parity.compare(expected, OnnxSession(target)))
        except (EngineError, ExportError) as error:
            if require_fusion:
                raise ExportError(f"{model.source.name} cannot be fused: {error}") from error
            _LOG.warning("going on without fusion: %s", error)
        else:
            layers, count = max(1, model.architecture["layers"]), nodes.get("Attention", 0)
            if count < layers:
                message = f"fused only {count} of {layers} Attention: slower than possible, but correct"
                if require_fusion:
                    raise ExportError(f"{model.source.name}: {message}")
                _LOG.warning("%s", message)
            return GraphFile(target, nodes)
    parity.require_fp32(parity.compare(expected, OnnxSession(model.path)))
    return GraphFile(model.path, graph.fused_nodes(onnx.load(model.path, load_external_data=False)))
