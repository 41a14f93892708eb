"""Arrays -> logits in ONNX Runtime on the CPU. No other file of the run time imports onnxruntime first.

Left out: CUDA and TensorRT (onnx_gpu.py).
"""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

from qa_onnx.engines.fork_safe import Native
from qa_onnx.engines.names import check_threads
from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu
from qa_onnx.session import OUTPUTS, RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

# From this release on ONNX Runtime's SkipLayerNormalization takes three times as long on a CPU as the sum and the
# norm that it is made of (0.92 and 0.28 ms for 704 x 384 values, two cores with AVX2). In releases before it took
# 0.23 ms, and they 0.36 to 1.06.
_NORMS_APART = (1, 30)
_NOT_APPLIED = "optimization.disable_specified_optimizers"
_EXACT = "session.x64quantprecision"
_SHARED_WEIGHTS = "Attempt to replace the existing tensor"
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"


class OnnxSession:
    """An ONNX file in ONNX Runtime, on the CPU. It works in forked processes, and pickles by its arguments.

    Args:
        path: the file. Only operators that ONNX Runtime brings along can run: none are registered here.
        threads: of one run; None: `cpu.default_threads()`.

    Raises:
        MissingExtraError: no ONNX Runtime is installed.
        EngineError: two of them are installed, or the file is no QA graph.
    """

    run_overhead = RUN_OVERHEAD["cpu"]
    frees_host = False

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        check_threads(threads)
        self._path, self._threads = path, threads
        self._native: Native[Any] = Native(self._open)
        self.input_names: tuple[str, ...] = tuple(value.name for value in self._native.get().get_inputs())

    def _open(self) -> Any:
        runtime = import_runtime()
        try:
            session = _load(runtime, self._path, cpu_options(runtime, self._threads))
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise EngineError(f"ONNX Runtime {runtime.__version__} cannot load {self._path}: {error}") from error
        check_outputs(self._path, {output.name for output in session.get_outputs()})
        return session

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute a batch; see `Session.run`.

        Raises:
            EngineError: ONNX Runtime cannot run it.
        """
        session = self._native.get()
        try:
            start, end = session.run(OUTPUTS, inputs)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed on {shapes_of(inputs)}: {error}") from error
        return cast("NDArray[np.float32]", start), cast("NDArray[np.float32]", end)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_session, (self._path, self._threads)


def _open_session(path: Path, threads: int | None) -> OnnxSession:
    return OnnxSession(path, threads=threads)


def check_outputs(path: Path, names: set[str]) -> None:
    """Refuse a graph that gives no logits.

    Raises:
        EngineError: it does not.
    """
    if not names.issuperset(OUTPUTS):
        raise EngineError(
            f"{path} gives {', '.join(sorted(names))}; a question answering graph gives {' and '.join(OUTPUTS)}"
        )


def shapes_of(inputs: Mapping[str, NDArray[np.int64]]) -> str:
    """The shapes of a batch's inputs, for an error."""
    return ", ".join(f"{name} {array.shape}" for name, array in inputs.items())


def import_runtime() -> Any:
    """The module onnxruntime.

    Raises:
        MissingExtraError: it is not installed.
        EngineError: it is installed twice, or what is left of it is broken.
    """
    wheels = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(wheels) == 2:
        raise EngineError(
            "both onnxruntime and onnxruntime-gpu are installed; they overwrite each other's files. For a GPU: "
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'qa-onnx[gpu]'; for the CPU alone the "
            "same with 'qa-onnx[cpu]'"
        )
    try:
        onnxruntime = _import_without_telemetry()
    except ImportError as error:
        raise MissingExtraError(
            "no ONNX Runtime is installed: pip install 'qa-onnx[cpu]', or 'qa-onnx[gpu]' for an NVIDIA GPU "
            f"({error})"
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise EngineError(
            "the installed ONNX Runtime lacks files, as it does after a second wheel of it was removed: "
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'qa-onnx[cpu]' or 'qa-onnx[gpu]'"
        )
    return onnxruntime


def _import_without_telemetry() -> Any:
    """Import onnxruntime without its reports to Microsoft, unless the host has imported or configured it.

    From 1.29 on, importing it starts threads that send what it does to a server, and write an identifier of the
    machine into the cache folder; a process that is forked later waits for these threads at its end, for ever.
    Only an environment variable keeps them from starting, and only while it is imported is it read.
    """
    if "onnxruntime" in sys.modules or _NO_TELEMETRY in os.environ:
        import onnxruntime

        return onnxruntime
    os.environ[_NO_TELEMETRY] = "1"
    try:
        import onnxruntime
    finally:
        os.environ.pop(_NO_TELEMETRY, None)
    return onnxruntime


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _load(runtime: Any, path: Path, options: Any) -> Any:
    """An InferenceSession, with exact integer products where the graph allows."""
    if not cpu.has_exact_int8():
        # Without VNNI, sums of byte products saturate at 16 bits. Weights of 7 bits, as our exports have them, are
        # small enough; for others this trades speed for the right result.
        options.add_session_config_entry(_EXACT, "1")
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if cpu.has_exact_int8() or _SHARED_WEIGHTS not in str(error):
            raise
    # ONNX Runtime cannot rewrite a weight of 8 bits that several nodes read: a graph of another exporter, which
    # runs as it is.
    options.add_session_config_entry(_EXACT, "0")
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def cpu_options(runtime: Any, threads: int | None) -> Any:
    """`session_options` for a run on the CPU."""
    options = session_options(runtime, threads)
    release = re.match(r"(\d+)\.(\d+)", runtime.__version__)
    if release and tuple(map(int, release.groups())) >= _NORMS_APART:
        options.add_session_config_entry(_NOT_APPLIED, "SkipLayerNormFusion")
    return options


def session_options(runtime: Any, threads: int | None) -> Any:
    """Options of an InferenceSession with so many threads of its own."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what fails raises; a line of it on the host's stderr besides helps nobody
    options.intra_op_num_threads = cpu.default_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    return options
