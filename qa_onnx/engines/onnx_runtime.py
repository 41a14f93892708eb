"""The module onnxruntime, and the options of a session in it, for CPU and GPU.

Every file gets onnxruntime from `import_onnxruntime`, since the first import decides about telemetry.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import Any

from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu

# A thread without work spins: it looks for work in a loop, and keeps its core from other threads. ONNX Runtime
# lets it spin for a millisecond or more. With 20 us a reader alone is as fast (1.02 x in calls of 48 questions,
# 0.95 x one by one: within the noise). Beside a process that keeps one of two cores busy it is 1.5 times as fast
# (MiniLM in int8, ONNX Runtime 1.32, two cores of an Intel Xeon). Releases that do not know the entry ignore it.
_SPIN = "session.intra_op.spin_duration_us"
_SPIN_US = "20"
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_REINSTALL = (
    "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'qa-onnx[gpu]' for an NVIDIA GPU, or "
    "'qa-onnx[cpu]' for the CPU alone"
)


def import_onnxruntime() -> Any:
    """Import and return the module onnxruntime.

    Raises:
        MissingExtraError: it is not installed.
        EngineError: two wheels of it are installed, or files of it are missing.
    """
    if all(any(metadata.distributions(name=name)) for name in ("onnxruntime", "onnxruntime-gpu")):
        problem = "both onnxruntime and onnxruntime-gpu are installed, and they overwrite each other's files"
        raise EngineError(problem, remedy=_REINSTALL)
    try:
        onnxruntime = _import_without_telemetry()
    except ImportError as error:
        raise MissingExtraError(
            f"no ONNX Runtime is installed ({error})",
            remedy="pip install 'qa-onnx[cpu]', or 'qa-onnx[gpu]' for an NVIDIA GPU",
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        problem = "the installed ONNX Runtime lacks files, as it does after a second wheel of it was removed"
        raise EngineError(problem, remedy=_REINSTALL)
    return onnxruntime


def _import_without_telemetry() -> Any:
    """Import onnxruntime without its reports to Microsoft, unless the host has imported or configured it.

    From 1.29 on, importing it starts threads that send usage data to a server and write an identifier of the
    machine into the cache folder; a process that is forked later waits for these threads forever when it ends.
    Only an environment variable prevents them, and ONNX Runtime reads it only while it is imported.
    """
    ours = "onnxruntime" not in sys.modules and _NO_TELEMETRY not in os.environ
    if ours:
        os.environ[_NO_TELEMETRY] = "1"
    try:
        import onnxruntime
    finally:
        if ours:
            os.environ.pop(_NO_TELEMETRY, None)
    return onnxruntime


def input_names(session: Any) -> tuple[str, ...]:
    """Return the names of the inputs that the graph of an InferenceSession declares."""
    return tuple(value.name for value in session.get_inputs())


def session_options(onnxruntime: Any, threads: int | None) -> Any:
    """Return the options of an InferenceSession with this number of threads; None: `cpu.default_threads()`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an error is raised; the host's stderr needs no line of it too
    options.intra_op_num_threads = cpu.default_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(_SPIN, _SPIN_US)
    return options
