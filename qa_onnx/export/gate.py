"""Does a graph answer well enough? Measured text to answer, and mended where it does not.

A precision passes when its F1 on the evaluation data is at least `gate` per cent of the float32 graph's on the
same questions (MLPerf's lines for BERT are 99 and 99.9). One that does not is made again with the nodes that
quantization hurts most kept back in float32, a few more at each attempt, until it passes or next to nothing is
left to quantize. Scores are measured on the CPU: bf16 in OpenVINO, the others in ONNX Runtime, fp16 too. That the
values of fp16 stay in a GPU's range is the probe's part.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.manifest import Accuracy, Receipt
from qa_onnx.evaluation.evaluate import evaluate
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from qa_onnx.data.squad import DataSet
    from qa_onnx.export.sensitivity import Sensitivity
    from qa_onnx.reader import Reader
    from qa_onnx.session import Session

_LOG = logging.getLogger(__name__)

# How many nodes to keep back, one attempt after the other.
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True, slots=True)
class Made:
    """A graph of some precision, as it was made.

    Attributes:
        path: its file.
        fused_nodes: how many nodes of each of ONNX Runtime's own operators it has.
        kept_back: nodes that stayed in a higher precision.
        settings: how it was calibrated.
    """

    path: Path
    fused_nodes: dict[str, int]
    kept_back: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judge:
    """The evaluation data, and what the source model and the float32 graph score on it.

    Attributes:
        data: questions with their right answers.
        gate: per cent of fp32's F1 that a precision must reach.
        seed: of the sample and of the bootstrap, for the record.
        reader: makes a reader of a session.
        open_as: opens a graph as a precision.
        source_name: the source model's own runtime.
        source: its scores.
        fp32: the float32 graph's scores.
        versions: of the packages at work.
    """

    data: DataSet
    gate: float
    seed: int
    reader: Callable[[Session], Reader]
    open_as: Callable[[str, Path], Session]
    source_name: str
    source: Accuracy
    fp32: Accuracy
    versions: dict[str, str]

    def judge(self, precision: str, path: Path) -> Accuracy:
        """Scores of a graph, run as a precision."""
        return score(precision, self.reader(self.open_as(precision, path)), self.data, self.seed)

    def passes(self, accuracy: Accuracy) -> bool:
        """Whether it reaches the gate."""
        return accuracy.f1 >= self.gate / 100 * self.fp32.f1

    def receipt(self, made: Made, accuracy: Accuracy, attempts: int, backend: str) -> Receipt:
        """The record of a graph that was judged, and of the backend that ran it."""
        return Receipt(
            data=self.data.name,
            sha256=self.data.sha256,
            n=len(self.data.golds),
            seed=self.seed,
            accuracy=accuracy,
            fp32=self.fp32,
            source=self.source,
            source_name=self.source_name,
            engine=backend,
            gate=self.gate,
            attempts=attempts,
            kept_back=made.kept_back,
            settings=made.settings,
            instruction_sets=cpu.instruction_sets(),
            versions=self.versions,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def score(name: str, reader: Reader, data: DataSet, seed: int) -> Accuracy:
    """Evaluate a reader, always answering, so that graphs are compared and not thresholds."""
    _LOG.info("asking %s the %s questions of %s", name, f"{len(data.golds):,}", data.name)
    report = evaluate(reader, data, seed=seed)
    return Accuracy(report.em, report.f1, report.em_interval, report.f1_interval)


def pass_gate(
    name: str,
    make: Callable[[Collection[str]], Made],
    judge: Judge,
    rank: Callable[[], list[Sensitivity]] | None,
) -> tuple[Made, Accuracy, int] | None:
    """Make a precision that reaches the gate.

    Args:
        name: of the precision.
        make: makes the graph with the given nodes kept back.
        judge: measures it.
        rank: orders the nodes by sensitivity, worst first; None: nothing can be kept back.

    Returns:
        The graph, its scores and the number of attempts; None if none reaches the gate.
    """
    made = make(())
    accuracy = judge.judge(name, made.path)
    _tell(name, made, accuracy, judge, "as it is")
    if judge.passes(accuracy):
        return made, accuracy, 1
    nodes = [item.node for item in rank()] if rank else []
    for attempt, count in enumerate([step for step in _STEPS if step < len(nodes)], 2):
        made = make(nodes[:count])
        accuracy = judge.judge(name, made.path)
        _tell(name, made, accuracy, judge, f"{count} of {len(nodes)} nodes kept back")
        if judge.passes(accuracy):
            return made, accuracy, attempt
    return None


def _tell(name: str, made: Made, accuracy: Accuracy, judge: Judge, how: str) -> None:
    percent = 100 * accuracy.f1 / judge.fp32.f1 if judge.fp32.f1 else 100.0
    _LOG.info(
        "%s, %s: %.1f MB, EM %.2f, F1 %.2f, %.2f %% of fp32's: %s %g",
        *(name, how, made.path.stat().st_size / 1e6, accuracy.em, accuracy.f1, percent),
        "reaches" if judge.passes(accuracy) else "misses",
        judge.gate,
    )
