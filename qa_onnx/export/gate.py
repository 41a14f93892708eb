"""Accuracy gate: measure graphs on evaluation data, and exclude nodes from quantization until one answers well.

A precision passes if its F1 on the evaluation data is at least `percent` per cent of the float32 graph's on the
same questions (MLPerf's limits for BERT are 99 and 99.9). One that does not pass is made again without quantizing
the most sensitive nodes, a few more at each attempt, until it passes or almost nothing is left to quantize. Scores
are measured on the CPU: bf16 in OpenVINO, the others, also fp16, in ONNX Runtime. The probe (probe.py) checks that
the values of fp16 stay in a GPU's range.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qa_onnx.bundle.manifest import Accuracy, Receipt
from qa_onnx.errors import GateError
from qa_onnx.evaluation.evaluate import evaluate
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from qa_onnx.data.squad import DataSet
    from qa_onnx.evaluation.evaluate import Report
    from qa_onnx.export.graph import GraphFile
    from qa_onnx.export.model import SourceModel
    from qa_onnx.export.settings import EvaluationSettings
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.session import Session

_LOG = logging.getLogger(__name__)

_TOLERABLE_LOSS = 1.0  # points of F1 that a null threshold may cost without a warning
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # nodes to exclude, attempt by attempt


@dataclass(frozen=True, slots=True)
class AccuracyGate:
    """The evaluation data, and the scores of the source model and the float32 graph on it.

    Attributes:
        data: questions with their gold answers.
        settings: per cent of fp32's F1 that a precision must reach, and the seed of sample and bootstrap.
        model: opens graphs and makes readers of them.
        options: of these readers.
        source_name: the source model's runtime.
        source: the source model's evaluation.
        fp32: the float32 graph's evaluation.
        versions: of the installed packages.
        reports: precision -> the evaluation of its graph in the bundle.
    """

    data: DataSet
    settings: EvaluationSettings
    model: SourceModel
    options: Options
    source_name: str
    source: Report
    fp32: Report
    versions: dict[str, str]
    reports: dict[str, Report] = field(default_factory=dict)

    def passes(self, report: Report) -> bool:
        """Tell whether scores reach the gate."""
        return report.f1 >= self.settings.gate / 100 * self.fp32.f1

    def find(
        self, precision: str, make: Callable[[Collection[str]], GraphFile], rank: Callable[[], list[str]]
    ) -> tuple[GraphFile, Session, Report, int]:
        """Make graphs of a precision until one reaches the gate: with nothing excluded, then more and more nodes.

        Args:
            precision: its name.
            make: makes a graph with the named nodes excluded.
            rank: returns the nodes that can be excluded, the most sensitive first; at least one stays quantized.

        Returns:
            The graph, a session that runs it, its evaluation and the number of attempts.

        Raises:
            GateError: none reaches the gate.
        """
        reached: list[tuple[float, int]] = []  # F1, minus the excluded nodes
        nodes: list[str] = []
        for attempt, count in enumerate((0, *STEPS), 1):
            if count and not nodes:
                nodes = rank()
            if count and count >= len(nodes):
                break
            graph = make(nodes[:count])
            session = self.model.open(graph.path, precision)
            report = self._measure(precision, graph, session)
            if self.passes(report):
                return graph, session, report, attempt
            del session  # its memory is for the tools that make the next graph
            reached.append((report.f1, -count))
        f1, excluded = max(reached)  # of equal F1 that with fewer nodes in fp32
        raise GateError(
            f"{precision} does not reach {self.settings.gate:g} % of fp32's F1 {self.fp32.f1:.2f}: the best is F1 "
            f"{f1:.2f}, {100 * f1 / self.fp32.f1:.2f} % of it"
            + (f", with {-excluded} of {len(nodes)} nodes in fp32" if len(reached) > 1 else "")
        )

    def receipt(self, graph: GraphFile, report: Report, attempts: int, backend: str) -> Receipt:
        """Return the record of a graph, its evaluation, and the backend that ran it."""
        by_characters, seed = report.by_characters, self.settings.seed
        return Receipt(
            data=self.data.name,
            sha256=self.data.sha256,
            n=len(self.data.golds),
            seed=seed,
            accuracy=_accuracy(report),
            fp32=_accuracy(self.fp32),
            source=_accuracy(self.source),
            source_name=self.source_name,
            engine=backend,
            gate=self.settings.gate,
            attempts=attempts,
            kept_back=graph.excluded_nodes,
            settings=graph.settings | ({"f1_by_characters": by_characters} if by_characters else {}),
            instruction_sets=cpu.instruction_sets(),
            versions=self.versions,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            f1_change_interval=None if report is self.fp32 else report.f1_change_interval(self.fp32, seed=seed),
        )

    def report_threshold(self, precisions: Iterable[str], threshold: float) -> None:
        """Log the scores of precisions with a null threshold; warn where F1 is more than 1 point lower."""
        all_answered = "; all of these questions have an answer, so that a threshold can only cost F1"
        for name in precisions:
            report = self.reports.get(name)
            if report is None:  # it missed the gate
                continue
            part = report.with_null_threshold(threshold)
            scores = f"{name} has F1 {part.f1:.2f} and EM {part.em:.2f}"
            text = f"with the fitted null threshold {scores} on the same questions"
            loss = report.f1 - part.f1
            if loss <= _TOLERABLE_LOSS:
                _LOG.info("%s", text)
                continue
            _LOG.warning(
                "%s, F1 %.2f less than if it always answers%s: calibrate and evaluate on questions like those "
                "that it will be asked, or answer always: null_threshold=None, --null-threshold off",
                *(text, loss, "" if self.data.has_unanswerable else all_answered),
            )

    def _measure(self, precision: str, graph: GraphFile, session: Session) -> Report:
        """Evaluate a graph in its precision, and log the result."""
        report = score(precision, self.model.reader(session, self.options), self.data, self.settings.seed)
        excluded = len(graph.excluded_nodes)
        _LOG.info(
            "%s%s: F1 %.2f, %.2f %% of fp32's, which %s the gate of %g %%; EM %.2f, %.1f MB",
            *(
                precision,
                f" with {excluded} node{'s' * (excluded > 1)} left in fp32" if excluded else "",
                report.f1,
            ),
            100 * report.f1 / self.fp32.f1 if self.fp32.f1 else 100.0,
            "reaches" if self.passes(report) else "misses",
            *(self.settings.gate, report.em, graph.path.stat().st_size / 1e6),
        )
        return report


def score(name: str, reader: Reader, data: DataSet, seed: int) -> Report:
    """Evaluate a reader without a null threshold, so that graphs are compared and not thresholds."""
    _LOG.info("asking %s the %s questions of %s", name, f"{len(data.golds):,}", data.name)
    return evaluate(reader, data, seed=seed)


def _accuracy(report: Report) -> Accuracy:
    """Return the scores of an evaluation as a receipt has them."""
    return Accuracy(report.em, report.f1, report.em_interval, report.f1_interval)
