"""Checkpoint or finished ONNX model -> bundle, in one call.

load -> float32 graph -> fuse -> each precision -> gate, parity, golden examples -> commit
"""

from __future__ import annotations

import dataclasses
import gc
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import qa_onnx
from qa_onnx.batches import pack
from qa_onnx.bundle.folder import Bundle
from qa_onnx.bundle.manifest import Manifest
from qa_onnx.data import squad
from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.errors import ExportError, GateError
from qa_onnx.export import confidence, merge, parity
from qa_onnx.export.finished import FinishedModel, find_finished
from qa_onnx.export.gate import AccuracyGate, score
from qa_onnx.export.graph import DEFAULT_OPSET
from qa_onnx.export.locate import check_name
from qa_onnx.export.opened import OpenedCheckpoint, open_checkpoint
from qa_onnx.export.precisions import PrecisionMaker
from qa_onnx.export.settings import EvaluationSettings, ExportSettings
from qa_onnx.export.source import float32_graph, load_source, require_tools, window_length
from qa_onnx.export.texts import PARITY_EXAMPLES
from qa_onnx.export.trained import check_training
from qa_onnx.export.writer import Writer
from qa_onnx.machine.files import check_path, os_errors
from qa_onnx.machine.packages import versions
from qa_onnx.options import Options
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from qa_onnx.batches import Batch
    from qa_onnx.data.squad import DataSet
    from qa_onnx.evaluation.evaluate import Report
    from qa_onnx.export.model import SourceModel
    from qa_onnx.reader import Reader

_LOG = logging.getLogger(__name__)

_BATCH_TOKENS = 1536  # of a batch for calibration and sensitivity: memory holds all activations of one
_PACKAGES = (
    *("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("tokenizers", "torch", "transformers", "optimum"),
)


def export(
    checkpoint: str | PathLike[str],
    to: str | Path | None = None,
    *,
    precisions: Sequence[str] = ("int8",),
    max_length: int | None = None,
    opset: int = DEFAULT_OPSET,
    fusion: bool = True,
    require_fusion: bool = False,
    replace: bool = False,
    evaluation: EvaluationSettings | None = None,
) -> Bundle:
    """Export a checkpoint, or import a finished ONNX model, into a bundle.

    An existing bundle of the same source keeps its other precisions. If an error is raised, the bundle stays as it
    was; a GateError alone may leave a bundle with those precisions that reach the gate. While another export is at
    work in the same folder, this one waits, two hours at most.

    Args:
        checkpoint: a folder or hub id of a question answering model, or a folder with model.onnx.
        to: the bundle's folder; None: exported/<name of the checkpoint>.
        precisions: fp32, fp16, int8, int8-static, bf16 or int8-static-bf16.
        max_length: tokens of a window by default; None: that of the existing bundle, else 384 or the most that the
            model reads.
        opset: of the standard ONNX operators.
        fusion: replace groups of standard operators with ONNX Runtime's own where possible. TensorRT knows only
            the standard ones.
        require_fusion: fail if a layer that should be fused is not.
        replace: discard the bundle in `to` if it is of another source.
        evaluation: data and limits to measure the precisions with; None: compare logits only.

    Raises:
        InputError: an argument is out of range or of a wrong type, or a data file cannot be used.
        MissingExtraError: a package is not installed.
        ExportError: the checkpoint cannot be exported, this CPU lacks the bf16 of a precision, or `to` holds a
            bundle of another source.
        ParityError: the float32 graph does not give the source model's logits.
        GateError: a precision does not reach the gate; it is not written.
    """
    check_path("checkpoint", checkpoint)
    check_path("to", "" if to is None else to)
    settings = ExportSettings(
        precisions=precisions,
        max_length=max_length,
        opset=opset,
        fusion=fusion,
        require_fusion=require_fusion,
        replace=replace,
        evaluation=EvaluationSettings() if evaluation is None else evaluation,
    )
    with os_errors(ExportError, f"cannot export {checkpoint}"):
        finished = find_finished(Path(checkpoint))
        require_tools(finished)
        check_name(str(checkpoint))
        data = None if Path(checkpoint).is_dir() else settings.evaluation.load()  # a typo shows before a download
        source = finished or open_checkpoint(checkpoint)
        folder = Path("exported", Path(checkpoint).resolve().name) if to is None else Path(to)
        return export_source(source, folder, settings, data or settings.evaluation.load())


def export_source(
    source: OpenedCheckpoint | FinishedModel,
    folder: Path,
    settings: ExportSettings,
    data: tuple[DataSet | None, DataSet | None] = (None, None),
) -> Bundle:
    """Export a checkpoint, or a finished ONNX model, into the bundle of a folder; see `export`.

    Args:
        source: the checkpoint or finished model.
        folder: of the bundle.
        settings: the options of `export`.
        data: to evaluate and to calibrate on, as `settings.evaluation` loads it.
    """
    evaluated, held_out = data
    _check_data(source, evaluated, held_out, settings.evaluation)
    seed = settings.evaluation.seed
    with Writer(folder) as writer:
        old = merge.existing(folder, replace=settings.replace)
        model, name, session = load_source(source, writer.stage / "plain.onnx", settings.opset)
        old = merge.reusable(
            folder, old, model, settings.precisions, settings.max_length, replace=settings.replace
        )
        options = Options.for_windows_of(window_length(model, old, settings.max_length))
        expected = parity.reference(name, session, model, options.max_length)
        scores = score(name, model.reader(session, options), evaluated, seed) if evaluated else None
        del session  # and with it PyTorch's weights
        fused, fusion = writer.stage / "fused.onnx", settings.fusion
        fp32, session = float32_graph(
            model, expected, fused, fusion=fusion, require_fusion=settings.require_fusion
        )
        gate = None
        if evaluated and scores:
            report = score("fp32", model.reader(session, options), evaluated, seed)
            _LOG.info("%s: F1 %.2f, fp32: F1 %.2f on %s", name, scores.f1, report.f1, evaluated.name)
            gate = AccuracyGate(evaluated, settings.evaluation, model, options, name, scores, report, _versions())
        del session  # its memory is for the tools that make precisions
        manifest = _manifest(model, old, options.max_length, writer)
        batches = _batches(model, options, held_out, settings.evaluation)
        maker = PrecisionMaker(model, fp32, expected, batches, gate, writer)
        missed = _make_all(settings.precisions, maker, manifest, folder)
        if len(missed) < len(settings.precisions):
            if settings.evaluation.calibrate and gate and held_out:
                reader = model.reader(OnnxSession(fp32.path), options)
                manifest = _calibrated(manifest, reader, held_out, gate.fp32, seed)
            writer.commit(manifest)
            _LOG.info("wrote %s", folder)
            if gate and manifest.null_threshold is not None:
                gate.report_threshold(settings.precisions, manifest.null_threshold)
    if missed:
        raise GateError("; ".join(missed), remedy="lower the gate, or use another precision")
    return Bundle.load(folder)


def _check_data(
    source: OpenedCheckpoint | FinishedModel,
    evaluated: DataSet | None,
    held_out: DataSet | None,
    settings: EvaluationSettings,
) -> None:
    """Compare the data to evaluate and to calibrate on with what the checkpoint was trained on."""
    check_training(source.folder, evaluated, held_out, calibrate=settings.calibrate)
    if settings.calibrate and held_out:
        problem = confidence.too_few(confidence.sample(held_out, settings.seed))
        if problem:  # said now, and not when the export has run for an hour
            _LOG.warning("%s", problem)


def _make_all(precisions: Sequence[str], maker: PrecisionMaker, manifest: Manifest, folder: Path) -> list[str]:
    """Add the precisions to a manifest; return what happened to each one that misses the gate."""
    missed = []
    for precision in precisions:
        gc.collect()  # PyTorch's model and the tools' copies of a graph are in reference cycles
        try:
            manifest.graphs[precision] = maker.make(precision)
        except GateError as error:
            missed.append(f"{error}{merge.what_stays(folder, manifest, precision)}")
    return missed


def _batches(
    model: SourceModel, options: Options, held_out: DataSet | None, settings: EvaluationSettings
) -> list[Batch]:
    """Return windows of held-out data in batches; of our own texts if there is none."""
    examples = list(PARITY_EXAMPLES)
    if held_out:
        golds = squad.sample(held_out.golds, settings.calibration_examples, settings.seed)
        examples = [Example(gold.question, gold.context) for gold in golds]
    windows = [window for example in model.windower.cut(examples, options) for window in example.windows]
    return list(pack(windows, batch_tokens=_BATCH_TOKENS, input_names=model.inputs, pad_id=model.pad_id))


def _calibrated(manifest: Manifest, reader: Reader, held_out: DataSet, checked: Report, seed: int) -> Manifest:
    """Return the manifest with a temperature and a null threshold, fitted to held-out data."""
    fit = confidence.fit(reader, confidence.sample(held_out, seed), checked)
    threshold = "none" if fit.null_threshold is None else f"{fit.null_threshold:.2f}"
    _LOG.info(
        "temperature %.2f, null threshold %s, fitted to %s questions: expected calibration error %.2f %% before, "
        "%.2f %% after",
        *(
            fit.temperature,
            threshold,
            f"{fit.confidence.fitted_n:,}",
            fit.confidence.ece_before,
            fit.confidence.ece_after,
        ),
    )
    return dataclasses.replace(
        manifest, temperature=fit.temperature, null_threshold=fit.null_threshold, confidence=fit.confidence
    )


def _manifest(model: SourceModel, old: Manifest | None, max_length: int, writer: Writer) -> Manifest:
    """Return a manifest of the model with the old one's graphs and calibration."""
    return Manifest(
        source=model.source,
        architecture=model.architecture,
        max_length=max_length,
        max_positions=model.max_positions,
        inputs=model.inputs,
        pad_id=model.pad_id,
        cls_id=model.cls_id,
        tokenizer=writer.add_text("tokenizer", model.tokenizer_json),
        graphs=dict(old.graphs) if old else {},
        temperature=old.temperature if old else 1.0,
        null_threshold=old.null_threshold if old else None,
        confidence=old.confidence if old else None,
        versions=_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _versions() -> dict[str, str]:
    """Return the versions of the packages that make the bundle."""
    return {"qa-onnx": qa_onnx.__version__, **versions(_PACKAGES)}
