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
from collections import deque
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from qa_onnx.engines.fork_safe import ForkSafe
from qa_onnx.engines.graph_checks import failure, shapes_of
from qa_onnx.engines.graph_source import GraphPath
from qa_onnx.engines.names import check_threads
from qa_onnx.engines.padding import pad_to
from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu
from qa_onnx.session import OUTPUTS, RUN_OVERHEAD, Stop, check_logits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.engines.graph_source import GraphSource
    from qa_onnx.session import Arrays

_AGAIN_S = 0.05
_CHECKED = re.compile(r"(Exception from \S+: |Check '.*?' failed at \S+: )+")
STEP = 16  # tokens; batches are padded to multiples of it


class OpenVinoSession:
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

    Raises:
        MissingExtraError: OpenVINO is not installed.
        EngineError: the file is no QA graph, or has operators that OpenVINO does not know.
    """

    run_overhead = RUN_OVERHEAD["cpu"] + STEP  # one more run also costs up to STEP tokens of padding
    leaves_cpu_idle = False

    def __init__(
        self,
        graph: Path | GraphSource,
        *,
        threads: int | None = None,
        longest: int | None = None,
        pad_id: int = 0,
        bf16: bool = False,
    ) -> None:
        check_threads(threads)
        self._graph, self._threads = GraphPath.of(graph), threads
        self._longest, self._pad_id, self._bf16 = longest, pad_id, bf16
        self._opened = ForkSafe(self._compile)
        inputs = self._opened.get()[0].inputs
        self.input_names: tuple[str, ...] = tuple(value.any_name for value in inputs)

    def _compile(self) -> tuple[Any, deque[Any]]:
        """Return a compiled model, and its idle requests: as many as calls have ever run at once."""
        openvino = import_openvino()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch
            "INFERENCE_NUM_THREADS": cpu.default_threads() if self._threads is None else self._threads,
            # OpenVINO's default is bfloat16 wherever the CPU has it; the bundle's precision is what was measured.
            "INFERENCE_PRECISION_HINT": "bf16" if self._bf16 else "f32",
            "ENABLE_CPU_PINNING": False,  # the host's threads stay where the host put them
        }
        with self._graph.open() as model:
            try:
                with _same_signal_stack():
                    return openvino.Core().compile_model(_read(model), "CPU", settings), deque()
            except Exception as error:  # a RuntimeError, whatever the cause
                reason = _CHECKED.sub("", " ".join(str(error).split()))  # where in its code: long, and no help
                raise EngineError(
                    f"OpenVINO {openvino.__version__} cannot load {self._graph.name}: {reason}"
                ) from error

    def run(self, inputs: Mapping[str, NDArray[np.int64]], *, stop: Stop | None = None) -> Arrays:
        """Compute a batch; see `EndableSession.run`. OpenVINO ends between two nodes of the graph.

        Raises:
            EngineError: OpenVINO cannot run it, or returns something else than logits.
        """
        if missing := sorted(
            set(self.input_names) - inputs.keys()
        ):  # OpenVINO would take those of an earlier call
            raise EngineError(f"the graph's inputs {', '.join(missing)} are missing")
        if len({inputs[name].shape for name in self.input_names}) > 1:
            raise EngineError(f"the inputs must have one shape, (B, T): {shapes_of(inputs)}")
        tokens = inputs[self.input_names[0]].shape[1]
        declared = {name: inputs[name] for name in self.input_names}
        length = self._length(tokens)
        padded = pad_to(declared, length, pad_id=self._pad_id)
        model, idle = self._opened.get()
        try:
            request = idle.pop()
        except IndexError:
            request = model.create_infer_request()
        stop = Stop() if stop is None else stop
        over = threading.Event()
        with stop.ends(lambda: threading.Thread(target=_cancel, args=(request, over), daemon=True).start()):
            try:
                # The inputs are read in place; the outputs are copies, so the request is free for another call.
                results = request.infer(padded, share_inputs=True)
                outputs = [results[name] for name in OUTPUTS]
            except Exception as error:
                if stop.requested:  # a graph that was ended between two nodes fails or errs on other shapes
                    self._opened.forget()
                raise failure("OpenVINO", inputs, error, stop) from error
            finally:
                over.set()
        start, end = check_logits(outputs, (len(inputs[self.input_names[0]]), length))
        if not stop.requested:  # else it may still be cancelled
            idle.append(request)
        return start[:, :tokens], end[:, :tokens]

    def renew(self) -> None:
        """Open the graph again; see `EndableSession.renew`."""
        self._opened.forget()
        self._opened.get()

    def _length(self, tokens: int) -> int:
        """Return the length to pad to; without an attention mask, padding would be read as text."""
        if self._longest is None or "attention_mask" not in self.input_names:
            return tokens
        return max(tokens, min(self._longest, -(-tokens // STEP) * STEP))

    def __reduce__(self) -> tuple[Any, ...]:
        again = partial(OpenVinoSession, self._graph, threads=self._threads, longest=self._longest)
        return partial(again, pad_id=self._pad_id, bf16=self._bf16), ()


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
