"""Checkpoint or finished ONNX model -> bundle, in one call.

load -> float32 graph -> fuse -> each precision -> parity -> golden examples -> commit
"""

from __future__ import annotations

import contextlib
import gc
import logging
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import qa_onnx
from qa_onnx import golden
from qa_onnx.bundle import Bundle
from qa_onnx.errors import BundleError, BundleFormatError, EngineError, ExportError, InputError
from qa_onnx.export import graph, parity, quantize
from qa_onnx.export.checkpoint import load_checkpoint
from qa_onnx.export.extras import require_quantize
from qa_onnx.export.finished import find_onnx, load_finished
from qa_onnx.export.texts import GOLDEN_EXAMPLES
from qa_onnx.export.writer import Writer
from qa_onnx.manifest import MANIFEST, Graph, Manifest, Parity, read_manifest
from qa_onnx.reader import Reader
from qa_onnx.session import OnnxSession
from qa_onnx.windows import Windower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.export.model import SourceModel

_LOG = logging.getLogger(__name__)

EXPORTABLE = ("fp32", "int8")
DEFAULT_MAX_LENGTH = 384

# int8 multiplies with kernels that only ONNX Runtime's CPU provider has.
_ENGINES = {"fp32": ("onnxruntime/cpu", "onnxruntime/cuda"), "int8": ("onnxruntime/cpu",)}
_PACKAGES = ("onnx", "onnxruntime", "onnxruntime-gpu", "tokenizers", "torch", "transformers", "optimum")


@dataclass(frozen=True, slots=True)
class _Float:
    """The float32 graph that the other precisions are made from, and how it was judged."""

    path: Path
    fused_nodes: dict[str, int]
    parity: Parity


def export(
    checkpoint: str | Path,
    to: str | Path | None = None,
    *,
    precisions: Sequence[str] = ("int8",),
    max_length: int | None = None,
    opset: int = graph.DEFAULT_OPSET,
    require_fusion: bool = False,
    replace: bool = False,
) -> Bundle:
    """Export a checkpoint, or import a finished ONNX model, into a bundle.

    An existing bundle of the same source keeps its other precisions. Whatever goes wrong, it stays as it was.

    Args:
        checkpoint: a folder or hub id of a question answering model, or a folder with model.onnx.
        to: the bundle's folder; None: exported/<name of the checkpoint>.
        precisions: of `EXPORTABLE`.
        max_length: tokens a window by default; None: that of the existing bundle, else 384 or what the model
            can read.
        opset: of the standard ONNX operators.
        require_fusion: fail where a layer that should be fused is not.
        replace: throw away what is in `to` if it is of another source.

    Raises:
        InputError: an argument is out of range.
        MissingExtraError: a package is not installed.
        ExportError: the checkpoint cannot be exported, or `to` holds a bundle of another source.
        ParityError: the float32 graph does not give the source model's logits.
    """
    _check_arguments(precisions, max_length, opset)
    require_quantize()
    folder = Path("exported", Path(checkpoint).resolve().name) if to is None else Path(to)
    old = _existing(folder, replace=replace)
    with Writer(folder) as writer:
        model, name, run = _load(checkpoint, writer, opset)
        old = _same_source(folder, old, model, precisions, replace=replace)
        max_length = _max_length(model, old, max_length)
        expected = _reference(model, name, run, max_length)
        del run
        gc.collect()  # the PyTorch model holds itself in cycles; without this its weights stay to the end
        floating = _fuse(model, expected, writer, require_fusion=require_fusion)
        gc.collect()  # likewise the optimizer's copies of the graph
        entries = dict(old.graphs) if old else {}
        tokenizer = writer.add_text("tokenizer", model.tokenizer_json)
        manifest = Manifest(
            source=model.source,
            architecture=model.architecture(),
            max_length=max_length,
            max_positions=model.max_positions,
            inputs=model.inputs,
            pad_id=model.pad_id,
            cls_id=model.cls_id,
            tokenizer=tokenizer,
            graphs=entries,
            temperature=old.temperature if old else 1.0,
            null_threshold=old.null_threshold if old else None,
            versions=_versions(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        for precision in precisions:
            entries[precision] = _make(precision, floating, expected, model, writer)
        writer.commit(manifest)
    _LOG.info("wrote %s", folder)
    return Bundle.load(folder)


def _check_arguments(precisions: Sequence[str], max_length: int | None, opset: int) -> None:
    unknown = [name for name in precisions if name not in EXPORTABLE]
    if unknown or not precisions:
        raise InputError(f"precisions are {', '.join(precisions) or 'none'}; choose from {', '.join(EXPORTABLE)}")
    if max_length is not None and max_length < 32:
        raise InputError(f"max_length is {max_length}; it must be at least 32")
    if not 14 <= opset <= 18:
        raise InputError(f"opset is {opset}; the exporter writes 14 to 18")


def _existing(folder: Path, *, replace: bool) -> Manifest | None:
    if not (folder / MANIFEST).exists():
        return None
    try:
        return read_manifest(folder)
    except BundleFormatError:
        raise
    except BundleError as error:
        if replace:
            return None
        raise ExportError(f"{error}; export with --replace to write a new bundle in its place") from error


def _same_source(
    folder: Path, old: Manifest | None, model: SourceModel, precisions: Sequence[str], *, replace: bool
) -> Manifest | None:
    """The old manifest if its graphs, those of `precisions` apart, can stay; None if there is nothing to keep."""
    if old is None:
        return None
    same = (old.source.sha256, set(old.inputs), old.pad_id, old.cls_id, old.max_positions) == (
        model.source.sha256,
        set(model.inputs),
        model.pad_id,
        model.cls_id,
        model.max_positions,
    )
    bundle = Bundle(folder, old)
    try:
        if same and bundle.text(old.tokenizer) == model.tokenizer_json:
            for precision in old.graphs.keys() - set(precisions):
                bundle.checked_path(old.graphs[precision].file)
                bundle.checked_path(old.graphs[precision].golden)
            return old
    except BundleError as error:
        if replace:
            return None
        raise ExportError(f"{error}; export with --replace to write a new bundle in its place") from error
    if replace:
        return None
    raise ExportError(
        f"{folder} is a bundle of {old.source.name} (SHA-256 {old.source.sha256[:12]}...), not of this source: "
        "choose another folder with --to, or --replace it"
    )


def _load(checkpoint: str | Path, writer: Writer, opset: int) -> tuple[SourceModel, str, parity.Runner]:
    """The float32 graph of the source, and what runs the source itself: its name and a function."""
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


def _max_length(model: SourceModel, old: Manifest | None, wanted: int | None) -> int:
    """Tokens a window: as wanted, as in the bundle that is added to, or the default."""
    name, most = model.source.name, model.max_positions
    if most < golden.OPTIONS.max_length:
        raise ExportError(f"{name} reads at most {most} tokens; at least {golden.OPTIONS.max_length} are needed")
    if wanted is None:
        return old.max_length if old else min(DEFAULT_MAX_LENGTH, most)
    if wanted > most:
        raise InputError(f"max_length is {wanted}; {name} reads at most {most} tokens")
    return wanted


def _reference(model: SourceModel, name: str, run: parity.Runner, max_length: int) -> parity.Reference:
    """The source's own logits on real text."""
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


def _fuse(model: SourceModel, expected: parity.Reference, writer: Writer, *, require_fusion: bool) -> _Float:
    """The float32 graph to use: fused if that works, else as it was exported; never one that is wrong."""
    fused = writer.stage / "fused.onnx"
    try:
        fusion = graph.fuse(model, fused)
        found = parity.compare(expected, OnnxSession(fused))
        parity.require_fp32(found)
    except (EngineError, ExportError) as error:
        if require_fusion:
            raise ExportError(f"{model.source.name} cannot be fused: {error}") from error
        _LOG.warning("going on without fusion: %s", error)
        found = parity.compare(expected, OnnxSession(model.path))
        parity.require_fp32(found)
        return _Float(model.path, {}, found)
    if fusion.missing:
        message = f"fused only {', '.join(fusion.missing)}: slower than it could be, not wrong"
        if require_fusion:
            raise ExportError(f"{model.source.name}: {message}")
        _LOG.warning("%s", message)
    return _Float(fused, fusion.nodes, found)


def _make(
    precision: str, floating: _Float, expected: parity.Reference, model: SourceModel, writer: Writer
) -> Graph:
    """One precision of the bundle, judged and staged."""
    started = time.perf_counter()
    path = writer.stage / f"{precision}.onnx"
    if precision == "fp32":
        shutil.copyfile(floating.path, path)
        nodes, found = floating.fused_nodes, floating.parity
    else:
        nodes = quantize.to_int8(floating.path, path)
        found = parity.compare(expected, OnnxSession(path))
    reader = Reader(
        session=OnnxSession(path),
        windower=Windower(model.tokenizer_json, cls_id=model.cls_id),
        pad_id=model.pad_id,
        options=golden.OPTIONS,
    )
    examples = golden.record(reader, GOLDEN_EXAMPLES)
    entry = writer.add("model", path)
    _LOG.info(
        "%s: %.1f MB, logits within %.2g of %s, same best span in %.1f %% of %d windows, in %.1f s",
        *(precision, entry.size / 1e6, found.max_abs, found.reference, 100 * found.same_best_span),
        found.windows,
        time.perf_counter() - started,
    )
    return Graph(
        file=entry,
        golden=writer.add_text("golden", examples),
        kind="fused" if nodes else "plain",
        fused_nodes=nodes,
        engines=_ENGINES[precision],
        parity=found,
        receipt=None,
    )


def _versions() -> dict[str, str]:
    """Of the packages that made the bundle."""
    found = {"qa-onnx": qa_onnx.__version__, "numpy": metadata.version("numpy")}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
