"""A checkpoint or a finished ONNX model -> a float32 graph that gives the logits of its source.

    load -> run the source on real text -> fuse -> compare

Left out: the other precisions, which are made from this graph (precisions.py).
"""

from __future__ import annotations

import logging
import time
from importlib import metadata
from typing import TYPE_CHECKING

from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.engines.onnx_runtime import import_onnxruntime
from qa_onnx.errors import EngineError, ExportError, InputError
from qa_onnx.evaluation import golden
from qa_onnx.export import graph, parity
from qa_onnx.export.checkpoint import load_checkpoint, load_model
from qa_onnx.export.finished import FinishedModel, load_finished
from qa_onnx.export.graph import GraphFile
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.bundle.manifest import Manifest
    from qa_onnx.export.model import SourceModel
    from qa_onnx.export.opened import OpenedCheckpoint
    from qa_onnx.session import Session

_LOG = logging.getLogger(__name__)

DEFAULT_MAX_LENGTH = 384


def require_tools(source: OpenedCheckpoint | FinishedModel | None) -> None:
    """Check that the packages are installed that export a finished model, or else a checkpoint.

    Raises:
        MissingExtraError: packages are not installed.
        EngineError: ONNX Runtime is installed twice.
    """
    require("quantize" if isinstance(source, FinishedModel) else "export", onnxruntime=True)
    import_onnxruntime()  # before other packages do: a process's first import decides about telemetry


def load_source(
    source: OpenedCheckpoint | FinishedModel, target: Path, opset: int
) -> tuple[SourceModel, str, Session]:
    """Load the source and write its float32 graph.

    Args:
        source: the checkpoint or finished model.
        target: the graph's file.
        opset: of the standard ONNX operators.

    Returns:
        The model, the name of the source's own runtime, and a session that runs the source in it.

    Raises:
        ExportError: the source is not a question answering model, or cannot be loaded.
    """
    if isinstance(source, FinishedModel):
        _LOG.info("reading %s", source.path)
        model = load_finished(source, target)
        try:
            return model, "the source ONNX model", OnnxSession(target)
        except EngineError as error:
            raise ExportError(f"{source.path}: {error}") from error
    started = time.perf_counter()
    with source.staged() as stage:
        torch_model, model = load_checkpoint(source, stage, target)
        model = graph.to_onnx(torch_model, model, opset=opset)
        shape = model.architecture
        _LOG.info(
            "%s: %s with %d layers, %.1f million weights, to ONNX in %.1f s",
            *(model.source.name, shape["model_type"], shape["layers"], shape["parameters"] / 1e6),
            time.perf_counter() - started,
        )
        del torch_model  # tracing changes some kinds of models for good: the reference is a fresh one
        fresh, _ = load_model(source, stage, attention="eager")
    source.refuse_changed()
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
) -> tuple[GraphFile, OnnxSession]:
    """Choose the float32 graph: fused if that works, else as it was exported; never one with other logits.

    Args:
        model: the source model.
        expected: the source's logits.
        target: file for the fused graph.
        fusion: try to fuse.
        require_fusion: fail if a layer that should be fused is not.

    Returns:
        The graph, and a session that runs it.

    Raises:
        ParityError: not even the graph without fusion gives the source's logits.
        ExportError: `require_fusion` is set and fusion fails or misses a layer.
    """
    import onnx

    if fusion:
        try:
            nodes = graph.fuse(model, target)
            session = OnnxSession(target)
            parity.require_fp32(parity.compare(expected, session))
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
            return GraphFile(target, nodes), session
    session = OnnxSession(model.path)
    parity.require_fp32(parity.compare(expected, session))
    return GraphFile(model.path, graph.fused_nodes(onnx.load(model.path, load_external_data=False))), session
