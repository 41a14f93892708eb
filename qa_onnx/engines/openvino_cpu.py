"""Arrays -> logits in OpenVINO: the only module that imports openvino.

On CPUs with VNNI it is the faster engine for int8-static and fp32 graphs. It reads the same ONNX files as ONNX
Runtime, and its logits must pass the same parity check. On CPUs with bf16 it can compute in bfloat16, which is a
precision of its own.
"""

from __future__ import annotations

import ctypes
import re
import sys
import threading
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from qa_onnx.engines.engine_session import CpuSession
from qa_onnx.engines.names import check_threads
from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu
from qa_onnx.session import OUTPUTS, RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.engines.graph_source import GraphSource
    from qa_onnx.session import Stop

_AGAIN_S = 0.05
_CHECKED = re.compile(r"(Exception from \S+: |Check '.*?' failed at \S+: )+")
STEP = 16  # tokens; batches are padded to multiples of it


class OpenVinoSession(CpuSession):
    """An ONNX file in OpenVINO, on the CPU. It works in forked processes, and pickles by its arguments.

    Args:
        graph: the file's path, or where else to get its bytes; see `OnnxSession`.
        threads: of one run; None: `cpu.default_threads()`.
        longest: maximum tokens that the model reads. Batches are then padded to multiples of `STEP`, since
            OpenVINO prepares itself for every shape and keeps that in memory, a megabyte or more each.
            None: unknown; batches then run at their own length.
        pad_id: token id that pads a batch.
        bf16: whether to compute in bfloat16, except for products of int8. A CPU without instructions for it
            emulates or ignores it: see `names.check_precision`.
        streams: runs at a time that share the threads; others wait for them.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        EngineError: the file is no QA graph, or has operators that OpenVINO does not know.
    """

    run_overhead = RUN_OVERHEAD["cpu"] + STEP  # one more run also costs up to STEP tokens of padding
    lane_tokens = 768
    _engine = "OpenVINO"

    def __init__(
        self,
        graph: Path | GraphSource,
        *,
        threads: int | None = None,
        longest: int | None = None,
        pad_id: int = 0,
        bf16: bool = False,
        streams: int = 1,
    ) -> None:
        check_threads(threads)
        self._threads, self._longest, self._bf16, self._streams = threads, longest, bf16, streams
        self._again = partial(OpenVinoSession, graph, longest=longest, pad_id=pad_id, bf16=bf16)
        super().__init__(graph, pad_id=pad_id)

    def _open(self) -> tuple[Any, tuple[str, ...]]:
        openvino = import_openvino()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch
            "INFERENCE_NUM_THREADS": cpu.default_threads() if self._threads is None else self._threads,
            # OpenVINO's default is bfloat16 wherever the CPU has it; the bundle's precision is what was measured.
            "INFERENCE_PRECISION_HINT": "bf16" if self._bf16 else "f32",
            "ENABLE_CPU_PINNING": False,  # the host's threads stay where the host put them
        }
        if self._streams > 1:
            settings["NUM_STREAMS"] = self._streams
        with self._graph.open() as model:
            self._note_size(model)
            try:
                with _same_signal_stack():
                    compiled = openvino.Core().compile_model(_read(model), "CPU", settings)
            except Exception as error:  # a RuntimeError, whatever the cause
                reason = _CHECKED.sub("", " ".join(str(error).split()))  # where in its code: long, and no help
                raise EngineError(
                    f"OpenVINO {openvino.__version__} cannot load {self._graph.name}: {reason}"
                ) from error
        return compiled, tuple(value.any_name for value in compiled.inputs)

    def _request(self, model: Any) -> Any:
        return model.create_infer_request()

    def _length(self, tokens: int) -> int:
        if self._longest is None:
            return tokens
        return max(tokens, min(self._longest, -(-tokens // STEP) * STEP))

    def _compute(self, model: Any, request: Any, inputs: dict[str, NDArray[np.int64]], stop: Stop) -> Any:
        over = threading.Event()
        with stop.ends(lambda: threading.Thread(target=_cancel, args=(request, over), daemon=True).start()):
            try:
                # The inputs are read in place; the outputs are copies, so the request is free for another call.
                results = request.infer(inputs, share_inputs=True)
                return [results[name] for name in OUTPUTS]
            except Exception:
                if stop.requested:  # a graph that was ended between two nodes fails or errs on other shapes
                    self._opened.forget()
                raise
            finally:
                over.set()

    def for_lanes(self, lanes: int) -> OpenVinoSession:
        """See `CpuSession.for_lanes`."""
        return self._again(threads=lanes, streams=lanes)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(self._again, threads=self._threads, streams=self._streams), ()


@contextmanager
def _same_signal_stack() -> Iterator[None]:
    """Keep the alternate signal stack of the calling thread.

    On a CPU with AMX, OpenVINO replaces it and frees it with the model. Where another thread does that, the next
    signal that this one gets, such as Ctrl-C, would crash the process.
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    stack = ctypes.create_string_buffer(64)  # a stack_t has 24 bytes at most
    libc.sigaltstack(None, stack)
    try:
        yield
    finally:
        libc.sigaltstack(stack, None)


def _cancel(request: Any, over: threading.Event) -> None:
    """Cancel a run again and again: OpenVINO ignores it before the run has really begun."""
    while not over.is_set():
        request.cancel()
        over.wait(_AGAIN_S)


def _read(model: bytes | Path) -> Any:
    """Return the model of an ONNX file, read as that: other formats may fit the same bytes."""
    from openvino.frontend import FrontEndManager

    onnx = FrontEndManager().load_by_framework("onnx")
    return onnx.convert(onnx.load(BytesIO(model) if isinstance(model, bytes) else str(model)))


def import_openvino() -> Any:
    """Import and return the module openvino.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        problem = f"OpenVINO is not installed ({error})"
        raise MissingExtraError(problem, remedy="pip install 'qa-onnx[openvino]'") from error
    return openvino
