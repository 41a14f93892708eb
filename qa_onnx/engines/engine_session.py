"""What all engines share: a graph that every process opens for itself, and a batch on its way through it.

    inputs --declared ones, padded--> engine, until `stop` --logits, checked, cut back--> Arrays

Left out: the engines themselves (onnx_cpu.py, onnx_gpu.py, openvino_cpu.py).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

from qa_onnx.engines.fork_safe import ForkSafe
from qa_onnx.engines.graph_source import GraphPath
from qa_onnx.engines.padding import pad_to
from qa_onnx.errors import EngineError
from qa_onnx.session import ENDED, Stop, check_logits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.engines.graph_source import GraphSource
    from qa_onnx.session import Arrays


class EngineSession(ABC):
    """A graph in an engine, an `EndableSession`. It works in forked processes, if the engine does.

    Args:
        graph: the file's path, or where else to get its bytes. No byte reaches an engine before the file was
            checked, see `graph_rules.check_graph`.
        pad_id: token id that pads a batch.
    """

    leaves_cpu_idle = False
    _engine = "ONNX Runtime"

    def __init__(self, graph: Path | GraphSource, *, pad_id: int = 0) -> None:
        self._graph, self._pad_id = GraphPath.of(graph), pad_id
        self._opened: ForkSafe[tuple[Any, deque[Any]]] = ForkSafe(self._open_with_requests)

    def _open_with_requests(self) -> tuple[Any, deque[Any]]:
        """Return the model, and its idle requests: as many as calls have ever run at once."""
        model, self.input_names = self._open()
        return model, deque()

    @abstractmethod
    def _open(self) -> tuple[Any, tuple[str, ...]]:
        """Open the graph; return the engine's model, and the names of the inputs that it declares."""

    def _request(self, model: Any) -> Any:
        """Return what one call at a time needs for itself, and later ones can use again."""
        return None

    def _length(self, tokens: int) -> int:
        """Return the length to pad a batch to."""
        return tokens

    @abstractmethod
    def _compute(self, model: Any, request: Any, inputs: dict[str, NDArray[np.int64]], stop: Stop) -> Any:
        """Return the logits of a batch as the engine has them, unless `stop` ends the run; raise anything."""

    def _error(self, what: str, error: Exception) -> EngineError:
        """Return the error for an exception of the engine."""
        return EngineError(f"{self._engine} {what}: {error}")

    def run(self, inputs: Mapping[str, NDArray[np.int64]], *, stop: Stop | None = None) -> Arrays:
        """Compute a batch; see `EndableSession.run`. All engines end between two nodes of the graph.

        Raises:
            EngineError: the engine cannot run it, or returns something else than logits; a DeviceError where the
                GPU is out of memory, or was used before this process was forked.
        """
        # OpenVINO would take missing ones from an earlier call.
        if missing := sorted(set(self.input_names) - inputs.keys()):
            raise EngineError(f"the graph's inputs {', '.join(missing)} are missing")
        declared = {name: inputs[name] for name in self.input_names}
        shapes = {array.shape for array in declared.values()}
        if len(shapes) > 1:
            raise EngineError(f"the inputs must have one shape, (B, T): {_shapes_of(inputs)}")
        [(rows, tokens)] = shapes
        # Without an attention mask, padding would be read as text.
        length = self._length(tokens) if "attention_mask" in declared else tokens
        padded = pad_to(declared, length, pad_id=self._pad_id)
        stop = Stop() if stop is None else stop
        model, idle = self._opened.get()
        try:
            request = idle.pop()
        except IndexError:
            request = self._request(model)
        try:
            outputs = self._compute(model, request, padded, stop)
        except Exception as error:  # those of engines have no other common base
            if stop.requested:
                raise EngineError(ENDED) from error
            raise self._error(f"failed on {_shapes_of(declared)}", error) from error
        start, end = check_logits(outputs, (rows, length))
        if not stop.requested:  # else it may still be cancelled
            idle.append(request)
        return start[:, :tokens], end[:, :tokens]

    def renew(self) -> None:
        """Open the graph again; see `EndableSession.renew`."""
        self._opened.forget()
        self._opened.get()


class CpuSession(EngineSession):
    """A graph in an engine on the CPU, which can be opened again to run batches side by side.

    Attributes:
        lane_tokens: see `LaneSession`.
        graph_bytes: size of the graph that was opened last; infinite: its weights are in a file beside it.
    """

    run_overhead: int
    lane_tokens: int
    graph_bytes: float

    @abstractmethod
    def for_lanes(self, lanes: int) -> CpuSession:
        """Open the same graph for so many runs at a time, of one thread each."""

    def _note_size(self, model: bytes | Path) -> None:
        self.graph_bytes = len(model) if isinstance(model, bytes) else math.inf


def _shapes_of(inputs: Mapping[str, NDArray[np.int64]]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
