"""Arrays -> logits: the only module that imports onnxruntime.

`Session` is what a `Reader` needs of any engine; `OnnxSession` is ONNX Runtime, on CPU or CUDA. Left out: the
other engine (openvino_session.py), and the choice between them (engines.py).
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast

from qa_onnx import machine
from qa_onnx.errors import EngineError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

Device: TypeAlias = Literal["cpu", "cuda"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_MOST_THREADS = 1024
OUTPUTS = ["start_logits", "end_logits"]
_EXACT = "session.x64quantprecision"
_SHARED_WEIGHTS = "Attempt to replace the existing tensor"


class Session(Protocol):
    """A graph that is ready to run. Any number of threads may call `run` at once."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that the graph declares."""
        ...

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute a batch.

        Args:
            inputs: int64 (B, T) for each of `input_names`.

        Returns:
            start_logits and end_logits, float32 (B, T) each.
        """
        ...


class OnnxSession:
    """An ONNX file in ONNX Runtime.

    Args:
        path: the file. Only operators that ONNX Runtime brings along can run: none are registered here.
        device: where all of it that can must run. The CPU never takes over silently for a GPU.
        threads: of one run on the CPU; None: `machine.default_threads()`.

    Raises:
        MissingExtraError: no ONNX Runtime is installed, or the one that is cannot drive the device.
        EngineError: two of them are installed, the device does not start, or the file is no QA graph.
    """

    def __init__(self, path: Path, *, device: Device = "cpu", threads: int | None = None) -> None:
        check_device(device)
        check_threads(threads)
        runtime = _import_runtime()
        provider = _PROVIDERS[device]
        if provider not in runtime.get_available_providers():
            raise MissingExtraError(
                f"the installed ONNX Runtime {runtime.__version__} cannot use device {device!r}: "
                "pip uninstall onnxruntime, then pip install 'qa-onnx[gpu]'"
            )
        if device == "cuda":
            runtime.preload_dlls()  # finds the CUDA and cuDNN libraries that pip installed
        try:
            self._session = _open(runtime, path, _session_options(runtime, threads), provider)
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise EngineError(f"ONNX Runtime {runtime.__version__} cannot load {path}: {error}") from error
        used = self._session.get_providers()
        if used[0] != provider:
            raise EngineError(
                f"device {device!r} was asked for, but ONNX Runtime fell back to {used[0]}: most likely the CUDA "
                f"or cuDNN libraries that onnxruntime-gpu {runtime.__version__} wants are not found, or the "
                "driver is too old; pip install 'qa-onnx[gpu]' brings the libraries"
            )
        outputs = {output.name for output in self._session.get_outputs()}
        if not outputs.issuperset(OUTPUTS):
            raise EngineError(
                f"{path} gives {', '.join(sorted(outputs))}; a question answering graph gives "
                f"{' and '.join(OUTPUTS)}"
            )
        self.input_names: tuple[str, ...] = tuple(value.name for value in self._session.get_inputs())

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute a batch; see `Session.run`.

        Raises:
            EngineError: ONNX Runtime cannot run it.
        """
        try:
            start, end = self._session.run(OUTPUTS, inputs)
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
            raise EngineError(f"ONNX Runtime failed on {shapes}: {error}") from error
        return cast("NDArray[np.float32]", start), cast("NDArray[np.float32]", end)


def check_device(device: str) -> None:
    """Refuse a name that is no device's.

    Raises:
        EngineError: it is none.
    """
    if device not in _PROVIDERS:
        raise EngineError(f"device is {device!r}; it must be one of {', '.join(_PROVIDERS)}")


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that no run can have.

    Raises:
        EngineError: it is out of range.
    """
    if threads is not None and not (isinstance(threads, int) and 1 <= threads <= _MOST_THREADS):
        raise EngineError(f"threads is {threads!r}; it must be an integer from 1 to {_MOST_THREADS}")


def _import_runtime() -> Any:
    wheels = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(wheels) == 2:
        raise EngineError(
            "both onnxruntime and onnxruntime-gpu are installed; they overwrite each other's files. For a GPU: "
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'qa-onnx[gpu]'; for the CPU alone the "
            "same with 'qa-onnx[cpu]'"
        )
    try:
        import onnxruntime
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


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _open(runtime: Any, path: Path, options: Any, provider: str) -> Any:
    """An InferenceSession, with exact integer products where the graph allows."""
    if not machine.has_exact_int8():
        # Without VNNI, sums of byte products saturate at 16 bits; this trades speed for the right result.
        options.add_session_config_entry(_EXACT, "1")
    try:
        return runtime.InferenceSession(path, options, providers=[provider])
    except Exception as error:
        if machine.has_exact_int8() or _SHARED_WEIGHTS not in str(error):
            raise
    # ONNX Runtime cannot rewrite a weight that several nodes read. Such graphs are exported with weights of
    # 7 bits, which do not saturate.
    options.add_session_config_entry(_EXACT, "0")
    return runtime.InferenceSession(path, options, providers=[provider])


def _session_options(runtime: Any, threads: int | None) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what fails raises; a line of it on the host's stderr besides helps nobody
    options.intra_op_num_threads = machine.default_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    return options
