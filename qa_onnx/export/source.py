"""A checkpoint or a finished ONNX model -> a float32 graph that is known to be right.

    load -> logits of real text from the source itself -> fuse -> compare

Left out: the other precisions, which are made from the result (precisions.py).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.engines.onnx_cpu import OnnxSession, import_runtime
from qa_onnx.errors import BundleError, EngineError, ExportError, InputError
from qa_onnx.evaluation import golden
from qa_onnx.export import graph, parity
from qa_onnx.export.checkpoint import check_name, load_checkpoint, refuse_unsafe
from qa_onnx.export.finished import find_onnx, load_finished
from qa_onnx.machine.packages import require
from qa_onnx.windows import Windower

if TYPE_CHECKING:
    from qa_onnx.bundle.manifest import Manifest
    from qa_onnx.export.model import SourceModel
    from qa_onnx.export.writer import Writer

_LOG = logging.getLogger(__name__)

DEFAULT_MAX_LENGTH = 384


@dataclass(frozen=True, slots=True)
class Floating:
    """The float32 graph that all precisions are made from.

    Attributes:
        path: its file, fused where that works.
        fused_nodes: how many nodes of each of ONNX Runtime's own operators it has.
    """

    path: Path
    fused_nodes: dict[str, int]


def check_source(checkpoint: str | Path) -> None:
    """Refuse what cannot be exported here, as far as that shows before any work.

    Args:
        checkpoint: a folder or hub id of a question answering model, or a folder with model.onnx.

    Raises:
        MissingExtraError: packages are not installed.
        ExportError: it is not there, or not safe to load.
        EngineError: ONNX Runtime is installed twice.
    """
    if find_onnx(Path(checkpoint)):
        require("quantize", runtime=True)
    else:
        require("export", runtime=True)
        check_name(str(checkpoint))
        if Path(checkpoint).is_dir():
            refuse_unsafe(Path(checkpoint))
    import_runtime()  # the first import of it in a process decides about its telemetry


def load_source(checkpoint: str | Path, writer: Writer, opset: int) -> tuple[SourceModel, str, parity.Runner]:
    """Load the source and write its float32 graph.

    Args:
        checkpoint: a folder or hub id of a question answering model, or a folder with model.onnx.
        writer: of the bundle; the graph goes to its stage.
        opset: of the standard ONNX operators.

    Returns:
        The model, and what runs the source itself: its name and a function from arrays to logits.

    Raises:
        MissingExtraError: a package is not installed.
        ExportError: the source is not there, not a question answering model, or not safe to load.
    """
    path = writer.stage / "plain.onnx"
    finished = find_onnx(Path(checkpoint))
    if finished:
        _LOG.info("reading %s", finished)
        model = load_finished(Path(checkpoint), finished, path)
        try:
            return model, "the source ONNX model", OnnxSession(path).run
        except EngineError as error:
            raise ExportError(f"{finished}: {error}") from error
    started = time.perf_counter()
    torch_model, model = load_checkpoint(checkpoint, path)
    model = graph.to_onnx(torch_model, model, opset=opset)
    _LOG.info(
        "%s: %s with %d layers, %.1f million weights, to ONNX in %.1f s",
        *(model.source.name, model.model_type, model.layers, model.parameters / 1e6),
        time.perf_counter() - started,
    )
    return model, f"PyTorch {metadata.version('torch')}", parity.torch_runner(torch_model)


def window_length(model: SourceModel, old: Manifest | None, wanted: int | None) -> int:
    """Tokens a window: as wanted, as in the bundle that is added to, or the default.

    Raises:
        InputError: the model cannot read windows as long as wanted.
        ExportError: it cannot even read those of the golden examples.
    """
    name, most = model.source.name, model.max_positions
    if most < golden.OPTIONS.max_length:
        raise ExportError(f"{name} reads at most {most} tokens; at least {golden.OPTIONS.max_length} are needed")
    if wanted is None:
        return old.max_length if old else min(DEFAULT_MAX_LENGTH, most)
    if wanted > most:
        raise InputError(f"max_length is {wanted}; {name} reads at most {most} tokens")
    return wanted


def reference(model: SourceModel, name: str, run: parity.Runner, max_length: int) -> parity.Reference:
    """The source's own logits on real text.

    Raises:
        ExportError: it fails on it.
    """
    try:
        return parity.reference(
            name,
            run,
            windower=Windower(model.tokenizer_json, cls_id=model.cls_id),
            input_names=model.inputs,
            pad_id=model.pad_id,
            max_length=max_length,
        )
    except (BundleError, EngineError) as error:
        raise ExportError(f"{model.source.name} does not read text: {error}") from error


def unfused(model: SourceModel, expected: parity.Reference) -> Floating:
    """The float32 graph as it was exported, in standard operators alone.

    Raises:
        ParityError: it does not give the source's logits.
    """
    parity.require_fp32(parity.compare(expected, OnnxSession(model.path)))
    return Floating(model.path, {})


def fuse(model: SourceModel, expected: parity.Reference, writer: Writer, *, require_fusion: bool) -> Floating:
    """The float32 graph to use: fused if that works, else as it was exported; never one that is wrong.

    Raises:
        ParityError: not even the unfused graph gives the source's logits.
        ExportError: `require_fusion` is set and a layer that should be fused is not.
    """
    fused = writer.stage / "fused.onnx"
    try:
        fusion = graph.fuse(model, fused)
        parity.require_fp32(parity.compare(expected, OnnxSession(fused)))
    except (EngineError, ExportError) as error:
        if require_fusion:
            raise ExportError(f"{model.source.name} cannot be fused: {error}") from error
        _LOG.warning("going on without fusion: %s", error)
        return unfused(model, expected)
    if fusion.missing:
        message = f"fused only {fusion.missing}: slower than it could be, not wrong"
        if require_fusion:
            raise ExportError(f"{model.source.name}: {message}")
        _LOG.warning("%s", message)
    return Floating(fused, fusion.nodes)
