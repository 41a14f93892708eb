"""Arrays -> logits in ONNX Runtime on the CPU.

Every file gets onnxruntime from `import_runtime` here, since the first import decides about telemetry.

Left out: CUDA and TensorRT (onnx_gpu.py).
"""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

from qa_onnx.engines.fork_safe import ForkSafe
from qa_onnx.engines.names import check_threads
from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu
from qa_onnx.session import OUTPUTS, RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

# From this release on, ONNX Runtime's SkipLayerNormalization takes three times as long on a CPU as the sum and the
# norm that it replaces (0.92 and 0.28 ms for 704 x 384 values, two cores with AVX2). In earlier releases it took
# 0.23 ms, and they 0.36 to 1.06.
_SLOW_SKIP_NORM = (1, 30)
_DISABLED = "optimization.disable_specified_optimizers"
_EXACT = "session.x64quantprecision"
_SHARED_WEIGHTS = "Attempt to replace the existing tensor"
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"


class OnnxSession:
    """An ONNX file in ONNX Runtime, on the CPU. It works in forked processes, and pickles by its arguments.

    Args:
        path: the file. Only ONNX Runtime's own operators can run: no others are registered.
        threads: of one run; None: `cpu.default_threads()`.

    Raises:
        MissingExtraError: no ONNX Runtime is installed.
        EngineError: two of them are installed, or the file is no QA graph.
    """

    run_overhead = RUN_OVERHEAD["cpu"]
    leaves_cpu_idle = False

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        check_threads(threads)
        self._path, self._threads = path, threads
        self._opened: ForkSafe[Any] = ForkSafe(self._open)
        self.input_names: tuple[str, ...] = tuple(value.name for value in self._opened.get().get_inputs())

    def _open(self) -> Any:
        runtime = import_runtime()
        try:
            session = _load(runtime, self._path, cpu_options(runtime, self._threads))
        except Exception as error:  # onnxruntime's exceptions have no other common base
            raise EngineError(f"ONNX Runtime {runtime.__version__} cannot load {self._path}: {error}") from error
        check_outputs(self._path, {output.name for output in session.get_outputs()})
        return session

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute a batch; see `Session.run`.

        Raises:
            EngineError: ONNX Runtime cannot run it.
        """
        session = self._opened.get()
        try:
            start, end = session.run(OUTPUTS, inputs)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed on {shapes_of(inputs)}: {error}") from error
        return cast("NDArray[np.float32]", start), cast("NDArray[np.float32]", end)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(OnnxSession, self._path, threads=self._threads), ()


def check_outputs(path: Path, names: set[str]) -> None:
    """Refuse a graph that lacks the outputs of a question answering model.

    Raises:
        EngineError: it lacks one.
    """
    if not names.issuperset(OUTPUTS):
        raise EngineError(
            f"{path} gives {', '.join(sorted(names))}; a question answering graph gives {' and '.join(OUTPUTS)}"
        )


def shapes_of(inputs: Mapping[str, NDArray[np.int64]]) -> str:
    """Return the shapes of a batch's inputs as text, for an error."""
    return ", ".join(f"{name} {array.shape}" for name, array in inputs.items())


def import_runtime() -> Any:
    """Import and return the module onnxruntime.

    Raises:
        MissingExtraError: it is not installed.
        EngineError: two wheels of it are installed, or files of it are missing.
    """
    reinstall = (
        "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'qa-onnx[gpu]' for an NVIDIA GPU, or "
        "'qa-onnx[cpu]' for the CPU alone"
    )
    if all(any(metadata.distributions(name=name)) for name in ("onnxruntime", "onnxruntime-gpu")):
        problem = "both onnxruntime and onnxruntime-gpu are installed, and they overwrite each other's files"
        raise EngineError(problem, remedy=reinstall)
    try:
        onnxruntime = _import_without_telemetry()
    except ImportError as error:
        raise MissingExtraError(
            f"no ONNX Runtime is installed ({error})",
            remedy="pip install 'qa-onnx[cpu]', or 'qa-onnx[gpu]' for an NVIDIA GPU",
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        problem = "the installed ONNX Runtime lacks files, as it does after a second wheel of it was removed"
        raise EngineError(problem, remedy=reinstall)
    return onnxruntime


def _import_without_telemetry() -> Any:
    """Import onnxruntime without its reports to Microsoft, unless the host has imported or configured it.

    From 1.29 on, importing it starts threads that send usage data to a server and write an identifier of the
    machine into the cache folder; a process that is forked later waits for these threads forever when it ends.
    Only an environment variable prevents them, and ONNX Runtime reads it only while it is imported.
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


def _load(runtime: Any, path: Path, options: Any) -> Any:
    """Open an InferenceSession, with exact integer products if the graph allows them."""
    if not cpu.has_exact_int8():
        # Without VNNI, sums of byte products saturate at 16 bits. Weights of 7 bits, as our exports have them, are
        # small enough; for others this trades speed for the right result.
        options.add_session_config_entry(_EXACT, "1")
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if cpu.has_exact_int8() or _SHARED_WEIGHTS not in str(error):
            raise
    # ONNX Runtime cannot rewrite a weight of 8 bits that several nodes read. Such a graph, of another exporter,
    # runs unchanged.
    options.add_session_config_entry(_EXACT, "0")
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def cpu_options(runtime: Any, threads: int | None) -> Any:
    """Return the options of an InferenceSession on the CPU."""
    options = session_options(runtime, threads)
    release = re.match(r"(\d+)\.(\d+)", runtime.__version__)
    if release and tuple(map(int, release.groups())) >= _SLOW_SKIP_NORM:
        options.add_session_config_entry(_DISABLED, "SkipLayerNormFusion")
    return options


def session_options(runtime: Any, threads: int | None) -> Any:
    """Return the options of an InferenceSession with this number of threads; None: `cpu.default_threads()`."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # an error is raised; the host's stderr needs no line of it too
    options.intra_op_num_threads = cpu.default_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    return options
