"""The float32 graph -> each precision of a bundle, judged.

fp32 is the float32 graph itself; fp16 is for GPUs; int8 needs no calibration and is the one for ONNX Runtime on
CPUs; int8-static has fixed ranges, made of standard operators alone, for engines such as OpenVINO. bf16 and
int8-static-bf16 are the graphs of fp32 and int8-static again, judged as OpenVINO computes them in bfloat16.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qa_onnx.bundle.manifest import Graph
from qa_onnx.engines.names import IN_BF16, backends_of
from qa_onnx.errors import GateError
from qa_onnx.evaluation import golden
from qa_onnx.export import graph, half, parity, quantize, sensitivity, static
from qa_onnx.export.gate import Made, pass_gate
from qa_onnx.export.half_storage import store_half
from qa_onnx.export.texts import GOLDEN_EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from qa_onnx.batches import Batch
    from qa_onnx.export.gate import Judge
    from qa_onnx.export.sensitivity import Sensitivity
    from qa_onnx.export.source import Floating
    from qa_onnx.export.writer import Writer
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.session import Session

_LOG = logging.getLogger(__name__)

EXPORTABLE = ("fp32", "fp16", "int8", "int8-static", "bf16", "int8-static-bf16")

_SENSITIVITY_BATCHES = 8


@dataclass(frozen=True, slots=True)
class PrecisionMaker:
    """Makes precisions, with what all of them need.

    Attributes:
        plain: the float32 graph in standard operators.
        floating: the float32 graph to start from.
        expected: the source's logits, for parity.
        batches: windows of real text, for calibration and sensitivity.
        judge: None where there is no data to measure on.
        reader: makes a reader of a session with some options.
        open_as: opens a graph as a precision.
        writer: of the bundle.
        done: what was staged last of each graph that several precisions run, by the precision that names it.
    """

    plain: Path
    floating: Floating
    expected: parity.Reference
    batches: Sequence[Batch]
    judge: Judge | None
    reader: Callable[[Session, Options], Reader]
    open_as: Callable[[str, Path], Session]
    writer: Writer
    done: dict[str, Made] = field(default_factory=dict)

    def make(self, precision: str) -> Graph:
        """Make, judge and stage one precision.

        Raises:
            GateError: it does not reach the gate, whatever is kept back.
            ExportError: it cannot be made.
        """
        started = time.perf_counter()
        if self.judge is None:
            made, receipt = self._quantized(precision, ()), None
        elif precision == "fp32":  # measured already: it is what the others are compared with
            made = self._quantized(precision, ())
            receipt = self.judge.receipt(made, self.judge.fp32, 1, str(backends_of(precision)[0]))
        else:
            passed = pass_gate(
                precision,
                lambda keep: self._quantized(precision, keep),
                self.judge,
                self._ranking(precision),
            )
            if passed is None:
                raise GateError(
                    f"{precision} does not reach {self.judge.gate:g} % of fp32's F1 {self.judge.fp32.f1:.2f}"
                )
            made, receipt = passed[0], self.judge.receipt(*passed, str(backends_of(precision)[0]))
        session = self.open_as(precision, made.path)
        found = parity.compare(self.expected, session)
        if precision == "fp32":
            parity.require_fp32(found)
        examples = golden.record(self.reader(session, golden.OPTIONS), GOLDEN_EXAMPLES)
        entry = self.writer.add("model", made.path)
        self.done[IN_BF16.get(precision, precision)] = dataclasses.replace(
            made, path=self.writer.stage / entry.name
        )
        _LOG.info(
            "%s: %.1f MB, logits within %.2g of %s, same best span in %.1f %% of %d windows, in %.1f s",
            *(precision, entry.size / 1e6, found.max_abs, found.reference, 100 * found.same_best_span),
            found.windows,
            time.perf_counter() - started,
        )
        return Graph(
            file=entry,
            golden=self.writer.add_text("golden", examples),
            kind="fused" if made.fused_nodes else "plain",
            fused_nodes=made.fused_nodes,
            engines=_engines(precision, made.fused_nodes),
            parity=found,
            receipt=receipt,
        )

    def _quantized(self, precision: str, keep: Collection[str]) -> Made:
        """A graph of a precision, with nodes kept back."""
        path = self.writer.stage / f"{precision}.onnx"
        precision = IN_BF16.get(precision, precision)
        done = self.done.get(precision)
        if done is not None and done.kept_back == tuple(keep):
            return done
        if precision == "fp32":
            store_half(self.floating.path, path)
            return Made(path, self.floating.fused_nodes)
        if precision == "fp16":
            source = self.floating.path
            if self.floating.fused_nodes:
                source = self.writer.stage / "fused-norms.onnx"  # ONNX Runtime could not, between the casts
                graph.fuse_norms(self.floating.path, source)
            result = half.to_fp16(source, path, [batch.inputs for batch in self.batches])
            if source != self.floating.path:
                source.unlink()
            return Made(path, result.fused_nodes, result.excluded, {"peak": result.peak})
        if precision == "int8":
            return Made(path, quantize.to_int8(self.floating.path, path, keep=keep), tuple(keep))
        static.quantize_static(self.plain, path, [batch.inputs for batch in self.batches], keep=keep)
        settings = {"method": "minmax", "smooth": static.ALPHA, "batches": len(self.batches)}
        return Made(path, {}, tuple(keep), settings)

    def _ranking(self, precision: str) -> Callable[[], list[Sensitivity]] | None:
        """Orders the nodes of a precision that can be kept back."""
        if precision in {"fp32", "fp16", "bf16"}:
            return None
        source = self.floating.path if precision == "int8" else self.plain
        return lambda: sensitivity.rank(
            source,
            sensitivity.products(source),
            lambda keep: self._quantized(precision, keep).path,
            self.batches[:_SENSITIVITY_BATCHES],
        )


def _engines(precision: str, fused: dict[str, int]) -> tuple[str, ...]:
    """The backends that run a graph with so many fused nodes, which TensorRT does not know."""
    return tuple(str(backend) for backend in backends_of(precision) if backend.engine != "tensorrt" or not fused)
