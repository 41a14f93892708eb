"""Checkpoint or finished ONNX model -> bundle, in one call.

load -> float32 graph -> fuse -> each precision -> gate, parity, golden examples -> commit
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import qa_onnx
from qa_onnx.batches import pack
from qa_onnx.bundle.folder import Bundle
from qa_onnx.bundle.manifest import Manifest
from qa_onnx.data import squad
from qa_onnx.engines.names import IN_BF16, PRECISIONS, why_not
from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.errors import ExportError, GateError, InputError
from qa_onnx.export import confidence, merge, parity, source
from qa_onnx.export.gate import AccuracyGate, score
from qa_onnx.export.graph import DEFAULT_OPSET
from qa_onnx.export.precisions import PrecisionMaker
from qa_onnx.export.settings import EvaluationSettings
from qa_onnx.export.texts import PARITY_EXAMPLES
from qa_onnx.export.trained import check_training
from qa_onnx.export.writer import Writer
from qa_onnx.machine.packages import require
from qa_onnx.options import Options
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.batches import Batch
    from qa_onnx.bundle.manifest import Accuracy
    from qa_onnx.data.squad import DataSet
    from qa_onnx.export.model import SourceModel
    from qa_onnx.export.source import Float32Graph
    from qa_onnx.session import Session

_LOG = logging.getLogger(__name__)

_BATCH_TOKENS = 1536  # of a batch for calibration and sensitivity: memory holds all activations of one
_FITTED = 2000  # questions to fit to: a tenth of them without an answer are enough for a null threshold
_PACKAGES = (
    *("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("tokenizers", "torch", "transformers", "optimum"),
)


def export(
    checkpoint: str | Path,
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
    was; a GateError alone may leave a bundle with those precisions that reach the gate.

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
        InputError: an argument is out of range, or a data file cannot be used.
        MissingExtraError: a package is not installed.
        ExportError: the checkpoint cannot be exported, this CPU lacks the bf16 of a precision, or `to` holds a
            bundle of another source.
        ParityError: the float32 graph does not give the source model's logits.
        GateError: a precision does not reach the gate; it is not written.
    """
    settings = EvaluationSettings() if evaluation is None else evaluation
    if require_fusion and not fusion:
        raise InputError("require_fusion contradicts fusion=False")
    if max_length is not None and max_length < 32:
        raise InputError(f"max_length is {max_length}; it must be at least 32")
    if not 14 <= opset <= 18:
        raise InputError(f"opset is {opset}; it must be 14 to 18")
    _check_precisions(precisions, settings)
    source.check_source(checkpoint)
    data = settings.load()
    check_training(checkpoint, *data, calibrate=settings.calibrate)
    folder = Path("exported", Path(checkpoint).resolve().name) if to is None else Path(to)
    old = merge.existing(folder, replace=replace)
    with Writer(folder) as writer:
        model, name, session = source.load_source(checkpoint, writer.stage / "plain.onnx", opset)
        old = merge.reusable(folder, old, model, precisions, max_length, replace=replace)
        options = Options.for_windows_of(source.window_length(model, old, max_length))
        logits = parity.reference(name, session, model, options.max_length)
        work = Export(model, options, settings, *data)
        accuracy = work.score(name, session)
        del session  # and with it PyTorch's weights
        fp32 = source.float32_graph(
            model, logits, writer.stage / "fused.onnx", fusion=fusion, require_fusion=require_fusion
        )
        manifest = _manifest(model, old, options.max_length, writer)
        gate = work.gate(name, accuracy, fp32)
        maker = PrecisionMaker(model, fp32, logits, work.batches(), gate, writer)
        missed = []
        for precision in precisions:
            gc.collect()  # PyTorch's model and the tools' copies of a graph are in reference cycles
            try:
                manifest.graphs[precision] = maker.make(precision)
            except GateError as error:
                missed.append(f"{error}{merge.what_stays(folder, manifest, precision)}")
        if len(missed) < len(precisions):
            writer.commit(work.calibrated(manifest, fp32))
            _LOG.info("wrote %s", folder)
    if missed:
        raise GateError("; ".join(missed), remedy="lower the gate, or use another precision")
    return Bundle.load(folder)


@dataclass(frozen=True, slots=True)
class Export:
    """The steps of an export that need the evaluation or the calibration data.

    Attributes:
        model: the source model.
        options: of the bundle's windows.
        settings: of the evaluation and the calibration.
        evaluation: the data for it; None: there is none.
        calibration: likewise.
    """

    model: SourceModel
    options: Options
    settings: EvaluationSettings
    evaluation: DataSet | None
    calibration: DataSet | None

    def score(self, name: str, session: Session) -> Accuracy | None:
        """Evaluate a session of the model; return None if there is no data."""
        if self.evaluation is None:
            return None
        return score(name, self.model.reader(session, self.options), self.evaluation, self.settings.seed)

    def gate(self, name: str, accuracy: Accuracy | None, fp32: Float32Graph) -> AccuracyGate | None:
        """Evaluate the float32 graph; return the gate with the source's runtime and scores; None without data."""
        if self.evaluation is None or accuracy is None:
            return None
        reader = self.model.reader(OnnxSession(fp32.path), self.options)
        scores = score("fp32", reader, self.evaluation, self.settings.seed)
        _LOG.info("%s: F1 %.2f, fp32: F1 %.2f on %s", name, accuracy.f1, scores.f1, self.evaluation.name)
        return AccuracyGate(
            data=self.evaluation,
            percent=self.settings.gate,
            seed=self.settings.seed,
            model=self.model,
            options=self.options,
            source_name=name,
            source=accuracy,
            fp32=scores,
            versions=_versions(),
        )

    def batches(self) -> list[Batch]:
        """Return windows of the calibration data in batches; of our own texts if there is none."""
        examples = list(PARITY_EXAMPLES)
        if self.calibration:
            golds = squad.sample(self.calibration.golds, self.settings.calibration_examples, self.settings.seed)
            examples = [Example(gold.question, gold.context) for gold in golds]
        cut = self.model.windower().cut(examples, self.options)
        windows = [window for example in cut for window in example.windows]
        names, pad_id = self.model.inputs, self.model.pad_id
        return list(pack(windows, batch_tokens=_BATCH_TOKENS, input_names=names, pad_id=pad_id))

    def calibrated(self, manifest: Manifest, fp32: Float32Graph) -> Manifest:
        """Return the manifest with a fitted temperature and null threshold, if the settings ask for them."""
        if not (self.settings.calibrate and self.evaluation and self.calibration):
            return manifest
        golds = squad.sample(self.calibration.golds, _FITTED, self.settings.seed)
        reader = self.model.reader(OnnxSession(fp32.path), self.options)
        fit = confidence.fit(reader, dataclasses.replace(self.calibration, golds=golds), self.evaluation)
        _LOG.info(
            "temperature %.3f, null threshold %s: expected calibration error %.2f %% before, %.2f %% after",
            *(fit.temperature, fit.null_threshold, fit.confidence.ece_before, fit.confidence.ece_after),
        )
        return dataclasses.replace(
            manifest,
            temperature=fit.temperature,
            null_threshold=fit.null_threshold,
            confidence=fit.confidence,
        )


def _manifest(model: SourceModel, old: Manifest | None, max_length: int, writer: Writer) -> Manifest:
    """Return a manifest of the model with the old one's graphs and calibration."""
    return Manifest(
        source=model.source,
        architecture=model.architecture(),
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


def _check_precisions(precisions: Sequence[str], settings: EvaluationSettings) -> None:
    """Refuse precisions that do not exist or cannot be made here."""
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown or not precisions:
        raise InputError(f"precisions are {', '.join(precisions) or 'none'}; choose from {', '.join(PRECISIONS)}")
    for name in precisions:
        reason = why_not(name)
        if reason:
            raise ExportError(
                f"{name} cannot be exported here, since {reason} and an export measures what it writes",
                remedy=f"export {IN_BF16[name]}, or do it on a CPU with bf16",
            )
        if IN_BF16.get(name, name) == "int8-static" and settings.calibration_data is None:
            raise InputError(
                f"{name} fixes the ranges of activations", remedy="name calibration data to take them from"
            )
    if not IN_BF16.keys().isdisjoint(precisions):
        require("openvino")


def _versions() -> dict[str, str]:
    """Return the versions of the packages that make the bundle."""
    versions = {"qa-onnx": qa_onnx.__version__}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
