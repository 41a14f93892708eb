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
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import qa_onnx
from qa_onnx.batches import pack
from qa_onnx.bundle.folder import Bundle
from qa_onnx.bundle.manifest import Manifest
from qa_onnx.data import squad
from qa_onnx.engines.names import IN_BF16, backends_of, why_not
from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.engines.sessions import open_session
from qa_onnx.errors import ExportError, GateError, InputError
from qa_onnx.export import confidence, graph, merge, parity, source
from qa_onnx.export.gate import Judge, score
from qa_onnx.export.precisions import EXPORTABLE, PrecisionMaker
from qa_onnx.export.texts import PARITY_EXAMPLES
from qa_onnx.export.writer import Writer
from qa_onnx.machine.packages import require
from qa_onnx.options import Options
from qa_onnx.reader import Reader
from qa_onnx.windows import Example, Windower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.batches import Batch
    from qa_onnx.data.squad import DataSet
    from qa_onnx.export.model import SourceModel
    from qa_onnx.session import Session

_LOG = logging.getLogger(__name__)

# Of a batch for calibration and sensitivity: all activations of one are held at once.
_BATCH_TOKENS = 1536
_FITTED = 2000  # questions, of which a tenth without an answer are enough for a null threshold that is no accident
_PACKAGES = (
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tokenizers",
    "torch",
    "transformers",
    "optimum",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What an export is measured with.

    Attributes:
        eval_data: a data file; every precision is evaluated on it and must reach the gate. None: none is.
        eval_limit: a random sample of so many of its questions; None: all.
        gate: per cent of fp32's F1 to reach. MLPerf's lines are 99 and 99.9.
        calibration_data: a data file, held out of training: ranges, temperature and thresholds come from it. A
            question that is in the evaluation as well is left out.
        calibration_examples: a random sample of so many of its questions gives the ranges.
        calibrate: fit a temperature, and a null threshold where there are unanswerable questions, to a random
            sample of 2,000, or to all where there are fewer.
        seed: of the samples and the bootstrap.

    Raises:
        InputError: a value is out of range, or one is missing that another needs.
    """

    eval_data: str | Path | None = None
    eval_limit: int | None = None
    gate: float = 99.0
    calibration_data: str | Path | None = None
    calibration_examples: int = 256
    calibrate: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.gate <= 100:
            raise InputError(f"gate is {self.gate}; it must be more than 0 and at most 100 per cent")
        if self.calibration_examples < 1:
            raise InputError(f"calibration_examples is {self.calibration_examples}; it must be at least 1")
        if self.calibrate and (self.calibration_data is None or self.eval_data is None):
            raise InputError("to calibrate, name calibration_data to fit on and eval_data to check with")


def export(
    checkpoint: str | Path,
    to: str | Path | None = None,
    *,
    precisions: Sequence[str] = ("int8",),
    max_length: int | None = None,
    opset: int = graph.DEFAULT_OPSET,
    fusion: bool = True,
    require_fusion: bool = False,
    replace: bool = False,
    proof: Proof | None = None,
) -> Bundle:
    """Export a checkpoint, or import a finished ONNX model, into a bundle.

    An existing bundle of the same source keeps its other precisions. Whatever goes wrong, but for a gate that some
    precisions miss and others pass, it stays as it was.

    Args:
        checkpoint: a folder or hub id of a question answering model, or a folder with model.onnx.
        to: the bundle's folder; None: exported/<name of the checkpoint>.
        precisions: of `EXPORTABLE`.
        max_length: tokens a window by default; None: that of the existing bundle, else 384 or what the model
            can read.
        opset: of the standard ONNX operators.
        fusion: let ONNX Runtime's own operators stand for several standard ones, where they can. TensorRT knows
            the standard ones alone.
        require_fusion: fail where a layer that should be fused is not.
        replace: throw away what is in `to` if it is of another source.
        proof: what to measure the precisions with; None: parity alone.

    Raises:
        InputError: an argument is out of range, or a data file cannot be used.
        MissingExtraError: a package is not installed.
        ExportError: the checkpoint cannot be exported, this CPU lacks the bf16 of a precision, or `to` holds a
            bundle of another source.
        ParityError: the float32 graph does not give the source model's logits.
        GateError: a precision does not reach the gate; it is not written, those that do are in the bundle.
    """
    proof = Proof() if proof is None else proof
    if require_fusion and not fusion:
        raise InputError("fusion is off and required: leave out one of the two")
    _check_arguments(precisions, max_length, opset, proof)
    source.check_source(checkpoint)
    evaluation, calibration = _data(proof)
    folder = Path("exported", Path(checkpoint).resolve().name) if to is None else Path(to)
    old = merge.existing(folder, replace=replace)
    with Writer(folder) as writer:
        model, name, run = source.load_source(checkpoint, writer, opset)
        old = merge.same_source(folder, old, model, precisions, replace=replace)
        old = merge.same_windows(folder, old, precisions, max_length, replace=replace)
        max_length = source.window_length(model, old, max_length)
        expected = source.reference(model, name, run, max_length)
        options = Options.for_windows_of(max_length)

        def reader(session: Session, options: Options = options) -> Reader:
            windower = Windower(model.tokenizer_json, cls_id=model.cls_id)
            return Reader(session=session, windower=windower, pad_id=model.pad_id, options=options)

        judged = None
        if evaluation:
            judged = score(name, reader(parity.RunnerSession(model.inputs, run)), evaluation, proof.seed)
        del run
        gc.collect()  # the PyTorch model holds itself in cycles; without this its weights stay to the end
        if fusion:
            floating = source.fuse(model, expected, writer, require_fusion=require_fusion)
        else:
            floating = source.unfused(model, expected)
        gc.collect()  # likewise the optimizer's copies of the graph
        judge = None
        if evaluation and judged:
            fp32 = score("fp32", reader(OnnxSession(floating.path)), evaluation, proof.seed)
            _LOG.info("%s: F1 %.2f, fp32: F1 %.2f on %s", name, judged.f1, fp32.f1, evaluation.name)
            judge = Judge(
                evaluation,
                proof.gate,
                proof.seed,
                reader,
                partial(_open_as, model),
                name,
                judged,
                fp32,
                _versions(),
            )
        manifest = _manifest(model, old, max_length, writer)
        batches = _batches(model, options, calibration, proof)
        maker = PrecisionMaker(
            model.path, floating, expected, batches, judge, reader, partial(_open_as, model), writer
        )
        missed = []
        for precision in precisions:
            gc.collect()  # and what is left of the precision before
            try:
                manifest.graphs[precision] = maker.make(precision)
            except GateError as error:
                missed.append(f"{error}{merge.what_stays(folder, manifest, precision)}")
        if proof.calibrate and evaluation and calibration and len(missed) < len(precisions):
            fitted = dataclasses.replace(calibration, golds=squad.sample(calibration.golds, _FITTED, proof.seed))
            manifest = _calibrated(manifest, reader(OnnxSession(floating.path)), fitted, evaluation)
        if len(missed) < len(precisions):
            writer.commit(manifest)
            _LOG.info("wrote %s", folder)
    if missed:
        raise GateError(f"{'; '.join(missed)}. Lower the gate, or use another precision")
    return Bundle.load(folder)


def _open_as(model: SourceModel, precision: str, path: Path) -> Session:
    """A graph of the model, opened where the precision is judged."""
    return open_session(
        path,
        backend=backends_of(precision)[0],
        precision=precision,
        longest=model.max_positions,
        pad_id=model.pad_id,
    )


def _check_arguments(precisions: Sequence[str], max_length: int | None, opset: int, proof: Proof) -> None:
    unknown = [name for name in precisions if name not in EXPORTABLE]
    if unknown or not precisions:
        raise InputError(f"precisions are {', '.join(precisions) or 'none'}; choose from {', '.join(EXPORTABLE)}")
    if max_length is not None and max_length < 32:
        raise InputError(f"max_length is {max_length}; it must be at least 32")
    if not 14 <= opset <= 18:
        raise InputError(f"opset is {opset}; the exporter writes 14 to 18")
    for name in precisions:
        reason = why_not(name)
        if reason:
            raise ExportError(
                f"{name} cannot be exported here, since {reason} and an export measures what it writes: export "
                f"{IN_BF16[name]}, or do it on a CPU with bf16"
            )
    static = [name for name in precisions if IN_BF16.get(name, name) == "int8-static"]
    if static and proof.calibration_data is None:
        raise InputError(f"{static[0]} fixes the ranges of activations: name calibration data to take them from")
    if not IN_BF16.keys().isdisjoint(precisions):
        require("openvino")


def _data(proof: Proof) -> tuple[DataSet | None, DataSet | None]:
    """Evaluation and calibration data, which have no question in common."""
    evaluation = calibration = None
    if proof.eval_data is not None:
        evaluation = squad.load(proof.eval_data, limit=proof.eval_limit, seed=proof.seed)
    if proof.calibration_data is not None:
        calibration = squad.load(proof.calibration_data)
        asked = {(gold.question, gold.context) for gold in evaluation.golds} if evaluation else set()
        golds = tuple(gold for gold in calibration.golds if (gold.question, gold.context) not in asked)
        if not golds:
            raise InputError(f"all questions of {calibration.name} are in the evaluation as well: name other data")
        calibration = dataclasses.replace(calibration, golds=golds)
    return evaluation, calibration


def _manifest(model: SourceModel, old: Manifest | None, max_length: int, writer: Writer) -> Manifest:
    """The manifest of the model, with the old one's graphs and calibration."""
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


def _batches(model: SourceModel, options: Options, calibration: DataSet | None, proof: Proof) -> list[Batch]:
    """Windows of the calibration data, or of our own texts, in batches."""
    examples = list(PARITY_EXAMPLES)
    if calibration:
        golds = squad.sample(calibration.golds, proof.calibration_examples, proof.seed)
        examples = [Example(gold.question, gold.context) for gold in golds]
    windower = Windower(model.tokenizer_json, cls_id=model.cls_id)
    windows = [window for example in windower.cut(examples, options) for window in example.windows]
    return list(pack(windows, batch_tokens=_BATCH_TOKENS, input_names=model.inputs, pad_id=model.pad_id))


def _calibrated(manifest: Manifest, reader: Reader, calibration: DataSet, evaluation: DataSet) -> Manifest:
    """The manifest with a temperature and a null threshold."""
    found = confidence.fit(reader, calibration, evaluation)
    _LOG.info(
        "temperature %.3f, null threshold %s: expected calibration error %.2f %% before, %.2f %% after",
        *(found.temperature, found.null_threshold),
        *(found.confidence.ece_before, found.confidence.ece_after),
    )
    return dataclasses.replace(
        manifest,
        temperature=found.temperature,
        null_threshold=found.null_threshold,
        confidence=found.confidence,
    )


def _versions() -> dict[str, str]:
    """Of the packages that made the bundle."""
    found = {"qa-onnx": qa_onnx.__version__, "numpy": metadata.version("numpy")}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
