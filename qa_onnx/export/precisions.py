"""The float32 graph -> the precisions of a bundle, each measured.

fp32 computes in float32; weights that float16 holds exactly are stored as float16. fp16 is for GPUs. int8 needs no
calibration and is meant for ONNX Runtime on CPUs. int8-static has fixed activation ranges and standard operators
only, for engines such as OpenVINO. bf16 and int8-static-bf16 are the graphs of fp32 and int8-static, measured as
OpenVINO computes them in bfloat16.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from qa_onnx.bundle.manifest import Graph
from qa_onnx.engines.names import PRECISIONS, backends_of
from qa_onnx.evaluation import golden
from qa_onnx.export import graph, half, parity, quantize, sensitivity, static
from qa_onnx.export.gate import STEPS
from qa_onnx.export.half_storage import store_half
from qa_onnx.export.texts import GOLDEN_EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from qa_onnx.batches import Batch
    from qa_onnx.bundle.manifest import Receipt
    from qa_onnx.export.gate import AccuracyGate
    from qa_onnx.export.graph import GraphFile
    from qa_onnx.export.model import SourceModel
    from qa_onnx.export.ranges import Inputs
    from qa_onnx.export.writer import Writer
    from qa_onnx.session import Session

_LOG = logging.getLogger(__name__)

_SENSITIVITY_BATCHES = 8


@dataclass(frozen=True, slots=True)
class PrecisionMaker:
    """Makes the precisions of a bundle.

    Attributes:
        model: the source model; its graph has standard operators only.
        fp32: the float32 graph to start from.
        expected: the source's logits, for parity.
        batches: windows of real text, for calibration and sensitivity.
        gate: None if there is no evaluation data.
        writer: of the bundle.
        done: precision -> the graph made last for it; bf16 reuses fp32's, int8-static-bf16 int8-static's.
    """

    model: SourceModel
    fp32: GraphFile
    expected: parity.Reference
    batches: Sequence[Batch]
    gate: AccuracyGate | None
    writer: Writer
    done: dict[str, GraphFile] = field(default_factory=dict)

    def make(self, precision: str) -> Graph:
        """Make, measure and stage one precision.

        Raises:
            GateError: it does not reach the gate, whichever nodes are excluded.
            ExportError: it cannot be quantized.
        """
        started = time.perf_counter()
        made, session, receipt = self._measured(precision)
        agreement = parity.compare(self.expected, session)
        if precision == "fp32":
            parity.require_fp32(agreement)
        examples = golden.record(self.model.reader(session, golden.OPTIONS), GOLDEN_EXAMPLES)
        entry, data = self.writer.add_graph(made.path)
        staged = dataclasses.replace(made, path=self.writer.stage / entry.name)
        self.done[PRECISIONS[precision].graph] = staged
        graph = Graph(
            file=entry,
            golden=self.writer.add_text("golden", examples),
            kind="fused" if made.fused_nodes else "plain",
            fused_nodes=made.fused_nodes,
            backends=_backends(precision, made.fused_nodes),
            parity=agreement,
            receipt=receipt,
            data=data,
        )
        _LOG.info(
            "%s: %.1f MB, logits within %.2g of %s, same best span in %.1f %% of %d windows, in %.1f s",
            *(precision, graph.size / 1e6, agreement.max_abs, agreement.reference),
            *(100 * agreement.same_best_span, agreement.windows, time.perf_counter() - started),
        )
        return graph

    def _measured(self, precision: str) -> tuple[GraphFile, Session, Receipt | None]:
        """Make and open a graph that reaches the gate, if there is one, and return it with its receipt."""
        make = partial(self.make_graph, precision)
        if self.gate is not None and precision != "fp32":
            made, session, report, attempts = self.gate.find(precision, make, partial(self._rank, precision))
        else:
            made = make(())
            session = self.model.open(made.path, precision)
            if self.gate is None:
                return made, session, None
            report, attempts = self.gate.fp32, 1  # which the others are compared with
        self.gate.reports[precision] = report
        return made, session, self.gate.receipt(made, report, attempts, str(backends_of(precision)[0]))

    def make_graph(self, precision: str, exclude: Collection[str]) -> GraphFile:
        """Make a graph of a precision, or return the same one of another precision.

        Args:
            precision: its name.
            exclude: names of nodes that stay in float32.
        """
        path = self.writer.stage / f"{precision}.onnx"
        name = PRECISIONS[precision].graph
        done = self.done.get(name)
        if done is not None and done.excluded_nodes == tuple(exclude):
            return done
        makers: dict[str, Callable[[Path, Collection[str]], GraphFile]] = {
            "fp32": self._fp32,
            "fp16": self._fp16,
            "int8": lambda path, exclude: quantize.to_int8(self.fp32.path, path, exclude=exclude),
            "int8-static": lambda path, exclude: static.quantize_static(
                self.model.path, path, self._inputs(), exclude=exclude
            ),
        }
        return makers[name](path, exclude)

    def _fp32(self, path: Path, _: Collection[str]) -> GraphFile:
        store_half(self.fp32.path, path)
        return dataclasses.replace(self.fp32, path=path)

    def _fp16(self, path: Path, _: Collection[str]) -> GraphFile:
        source = self.fp32.path
        if self.fp32.fused_nodes:
            # First: with fp16 casts in between, ONNX Runtime would not find the norms.
            graph.fuse_norms(self.fp32.path, path)
            source = path  # `to_fp16` reads it before it writes there
        return half.to_fp16(source, path, self._inputs())

    def _inputs(self) -> list[Inputs]:
        return [batch.inputs for batch in self.batches]

    def _rank(self, precision: str) -> list[str]:
        """Return the nodes of a precision that can be excluded, the most sensitive first."""
        if not PRECISIONS[precision].quantized:
            return []
        dynamic = precision == "int8"
        source = self.fp32.path if dynamic else self.model.path
        names = sensitivity.constant_products(source) if dynamic else static.quantizable_names(source)
        _LOG.info(
            "%s: searching for the nodes that quantization hurts most: %d trials with one node quantized each; "
            "then at most %d more graphs are measured, with more and more of those nodes in fp32",
            *(precision, len(names), sum(count < len(names) for count in STEPS)),
        )
        batches = self.batches[:_SENSITIVITY_BATCHES]
        return sensitivity.rank(source, names, lambda exclude: self.make_graph(precision, exclude).path, batches)


def _backends(precision: str, fused: dict[str, int]) -> tuple[str, ...]:
    """Return the backends that run a graph; TensorRT does not know fused nodes."""
    return tuple(str(backend) for backend in backends_of(precision) if backend.engine != "tensorrt" or not fused)
