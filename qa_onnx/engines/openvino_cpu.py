"""Arrays -> logits in OpenVINO: the only module that imports openvino.

On CPUs with VNNI it is the faster engine for int8-static and fp32 graphs. It reads the same ONNX files as ONNX
Runtime; what it computes is held to the same parity. On CPUs with bf16 it can compute in bfloat16, which is a
precision of its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.engines.fork_safe import Native
from qa_onnx.engines.names import check_threads
from qa_onnx.engines.onnx_cpu import check_outputs, shapes_of
from qa_onnx.engines.padding import pad_to
from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu
from qa_onnx.session import OUTPUTS, RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


STEP = 16  # tokens


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A model for the CPU, and its requests that no call uses: as many as calls have ever run at once."""

    model: Any
    idle: deque[Any]


class OpenVinoSession:
    """An ONNX file in OpenVINO, on the CPU. It works in forked processes, and pickles by its arguments.

    Args:
        path: the file.
        threads: of one run; None: `cpu.default_threads()`.
        longest: tokens that the model reads at most; batches are then padded to multiples of `STEP`, since
            OpenVINO prepares itself for every shape and remembers what it prepared, a megabyte and more each.
            None: not known; batches then run in the length they have.
        pad_id: token id that pads a batch.
        bf16: compute in bfloat16, but for products of int8. A CPU without instructions for it emulates it or
            leaves it out: see `engines.check_precision`.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        EngineError: the file is no QA graph, or has operators that OpenVINO does not know.
    """

    run_overhead = RUN_OVERHEAD["cpu"] + STEP  # apart, rows are padded too
    frees_host = False

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        longest: int | None = None,
        pad_id: int = 0,
        bf16: bool = False,
    ) -> None:
        check_threads(threads)
        self._path, self._threads, self._longest, self._pad_id = path, threads, longest, pad_id
        self._bf16 = bf16
        self._native = Native(self._compile)
        inputs = self._native.get().model.inputs
        self.input_names: tuple[str, ...] = tuple(value.any_name for value in inputs)

    def _compile(self) -> _Compiled:
        openvino = import_openvino()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch
            "INFERENCE_NUM_THREADS": cpu.default_threads() if self._threads is None else self._threads,
            # By itself it computes in bfloat16 wherever the CPU can. Precision is the bundle's choice, and was
            # measured.
            "INFERENCE_PRECISION_HINT": "bf16" if self._bf16 else "f32",
            "ENABLE_CPU_PINNING": False,  # the host's threads stay where the host put them
        }
        try:
            model = openvino.Core().compile_model(self._path, "CPU", settings)
        except Exception as error:  # it raises RuntimeError for all that can go wrong
            reason = " ".join(str(error).split())
            raise EngineError(f"OpenVINO {openvino.__version__} cannot load {self._path}: {reason}") from error
        check_outputs(self._path, {name for output in model.outputs for name in output.names})
        return _Compiled(model, deque())

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute a batch; see `Session.run`.

        Raises:
            EngineError: OpenVINO cannot run it.
        """
        self._check(inputs)
        asked = inputs[self.input_names[0]].shape[1]
        padded = pad_to(
            {name: inputs[name] for name in self.input_names}, self._length(asked), pad_id=self._pad_id
        )
        compiled = self._native.get()
        try:
            request = compiled.idle.pop()
        except IndexError:
            request = compiled.model.create_infer_request()
        try:
            # The inputs are read in place; the outputs are copies, so the request is free for another call.
            results = request.infer(padded, share_inputs=True)
            start, end = (np.asarray(results[name], np.float32)[:, :asked] for name in OUTPUTS)
        except Exception as error:
            raise EngineError(f"OpenVINO failed on {shapes_of(inputs)}: {error}") from error
        compiled.idle.append(request)
        return start, end

    def _length(self, tokens: int) -> int:
        """The length to pad to: without a mask padding would be read as text."""
        if self._longest is None or "attention_mask" not in self.input_names:
            return tokens
        return max(tokens, min(self._longest, -(-tokens // STEP) * STEP))

    def _check(self, inputs: Mapping[str, NDArray[np.int64]]) -> None:
        """Refuse what OpenVINO would not: it keeps an earlier call's input, and takes shapes that do not fit."""
        missing = set(self.input_names) - inputs.keys()
        if missing:
            raise EngineError(f"the graph's inputs {', '.join(sorted(missing))} are missing")
        if len({inputs[name].shape for name in self.input_names}) > 1:
            shapes = ", ".join(f"{name} {inputs[name].shape}" for name in self.input_names)
            raise EngineError(f"the inputs must have one shape, (B, T): {shapes}")

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"threads": self._threads, "longest": self._longest, "pad_id": self._pad_id, "bf16": self._bf16}
        return _open_session, (self._path, options)


def _open_session(path: Path, options: dict[str, Any]) -> OpenVinoSession:
    return OpenVinoSession(path, **options)


def import_openvino() -> Any:
    """The module openvino.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(f"OpenVINO is not installed: pip install 'qa-onnx[openvino]' ({error})") from error
    return openvino
