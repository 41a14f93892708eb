"""Arrays -> logits on an NVIDIA GPU, in ONNX Runtime's CUDA or TensorRT provider.

Batches are padded to a few lengths (padding.py), inputs and outputs are bound to the device, and one binding
serves one call at a time: two calls that share one would overwrite each other's inputs. Left out: CUDA graphs,
which want every shape fixed and all nodes on the GPU, and packed attention.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from qa_onnx.engines import tensorrt
from qa_onnx.engines.fork_safe import ForkSafe
from qa_onnx.engines.onnx_cpu import check_outputs, import_runtime, session_options, shapes_of
from qa_onnx.engines.padding import bucket_of, length_buckets, pad_to
from qa_onnx.errors import DeviceError, EngineError, MissingExtraError
from qa_onnx.machine import gpu
from qa_onnx.machine.elf import needed_by
from qa_onnx.session import OUTPUTS, RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_PROVIDERS = {"onnxruntime": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_LIBRARIES = {"onnxruntime": ("cuda",), "tensorrt": ("cuda", "tensorrt")}
_LEAST_MEMORY = 64  # MB


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPlan:
    """How a graph runs on a GPU.

    Attributes:
        engine: "onnxruntime", for its CUDA provider, or "tensorrt".
        precision: of the bundle; it decides what TensorRT may compute in.
        longest: tokens that the model reads at most. None: not known; batches then run in the length they have.
        inputs: names of the graph's inputs. TensorRT must be told both.
        pad_id: token id that pads a batch.
        memory_limit_mb: of ONNX Runtime's memory on the GPU, in MB; None: no limit.
    """

    engine: Literal["onnxruntime", "tensorrt"] = "onnxruntime"
    precision: str = "fp32"
    longest: int | None = None
    inputs: tuple[str, ...] = ()
    pad_id: int = 0
    memory_limit_mb: int | None = None

    def __post_init__(self) -> None:
        limit = self.memory_limit_mb
        if limit is not None and limit < _LEAST_MEMORY:
            raise EngineError(f"memory_limit_mb is {limit}; it must be at least {_LEAST_MEMORY}")
        if self.engine == "tensorrt" and (self.longest is None or not self.inputs):
            raise EngineError("TensorRT compiles for a range of shapes: longest and inputs must be given")


@dataclass(frozen=True, slots=True)
class _Opened:
    """A session, and its bindings that no call uses: as many as calls have ever run at once."""

    session: Any
    idle: deque[Any]


class GpuSession:
    """An ONNX file on a GPU. The CPU never takes over silently.

    It pickles by its arguments. In a process that was forked from one that used CUDA `run` raises: nothing can.

    Args:
        path: the file.
        plan: how to run it.

    Raises:
        MissingExtraError: no ONNX Runtime is installed, or the one that is cannot drive a GPU.
        DeviceError: the GPU cannot be used: driver, libraries or memory.
        EngineError: two ONNX Runtimes are installed, or the file is no QA graph.
    """

    run_overhead = RUN_OVERHEAD["cuda"]
    frees_host = True

    def __init__(self, path: Path, plan: GpuPlan) -> None:
        self._path, self._plan = path, plan
        self._opened = ForkSafe(self._open)
        opened = self._opened.get().session
        self.input_names: tuple[str, ...] = tuple(value.name for value in opened.get_inputs())
        masked = "attention_mask" in self.input_names  # without it padding would be read as text
        self._buckets = length_buckets(plan.longest) if plan.longest is not None and masked else ()

    def _open(self) -> _Opened:
        runtime = import_runtime()
        driver = check_usable(self._plan.engine)
        options = session_options(runtime, 1)  # what little runs on the CPU there gains nothing from threads
        providers = _providers(runtime, self._path, self._plan, driver)
        try:
            # Fallback is to the CPU, and said on stdout: whoever asked for a GPU must hear of it instead.
            session = runtime.InferenceSession(self._path, options, providers=providers, enable_fallback=0)
            session.disable_fallback()
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise _translated(runtime, f"cannot load {self._path}", error) from error
        used, wanted = session.get_providers(), providers[0][0]
        if used[0] != wanted:
            raise DeviceError(
                f"device 'cuda' was asked for, but ONNX Runtime {runtime.__version__} fell back from {wanted} to "
                f"{used[0]}: most likely a library of CUDA, cuDNN or TensorRT does not load: "
                "pip install 'qa-onnx[gpu]'"
            )
        check_outputs(self._path, {output.name for output in session.get_outputs()})
        return _Opened(session, deque())

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute a batch; see `Session.run`.

        Raises:
            DeviceError: the GPU is out of memory, or was used before this process was forked.
            EngineError: ONNX Runtime cannot run it.
        """
        rows, tokens = inputs["input_ids"].shape
        used = {name: inputs[name] for name in self.input_names if name in inputs}
        padded = pad_to(used, bucket_of(tokens, self._buckets), pad_id=self._plan.pad_id)
        most = tensorrt.MOST_ROWS if self._plan.engine == "tensorrt" else max(rows, 1)
        parts = [
            self._run({name: array[row : row + most] for name, array in padded.items()})
            for row in range(0, max(rows, 1), most)
        ]
        start, end = (np.concatenate(logits)[:, :tokens] for logits in zip(*parts, strict=True))
        return start, end

    def _run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        opened = self._opened.get()
        try:
            binding = opened.idle.pop()
        except IndexError:
            binding = opened.session.io_binding()
        try:
            for name, array in inputs.items():
                binding.bind_cpu_input(name, array)  # copies to the device
            for name in OUTPUTS:
                binding.bind_output(name, "cuda")
            binding.synchronize_inputs()
            opened.session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            start, end = (np.asarray(logits, np.float32) for logits in binding.copy_outputs_to_cpu())
            # Else the arrays would live on, and the device memory of the logits stay taken until the next call.
            binding.clear_binding_inputs()
            binding.clear_binding_outputs()
        except Exception as error:
            raise _translated(None, f"failed on {shapes_of(inputs)}", error) from error
        opened.idle.append(binding)
        return start, end

    def __reduce__(self) -> tuple[Any, ...]:
        return GpuSession, (self._path, self._plan)


def check_usable(engine: str) -> gpu.Driver | None:
    """Refuse a machine on which an engine cannot reach a GPU.

    Args:
        engine: "onnxruntime" or "tensorrt".

    Returns:
        The driver; None where it cannot be asked before ONNX Runtime does.

    Raises:
        MissingExtraError: the installed ONNX Runtime was not built for it.
        DeviceError: driver, GPU or libraries are missing or too old.
    """
    runtime = import_runtime()
    if _PROVIDERS[engine] not in runtime.get_available_providers():
        has = "TensorRT" if engine == "tensorrt" else "device 'cuda'"
        raise MissingExtraError(
            f"the installed ONNX Runtime {runtime.__version__} cannot use {has}: "
            "pip uninstall onnxruntime, then pip install 'qa-onnx[gpu]'"
        )
    if sys.platform != "linux":
        runtime.preload_dlls()
        return None
    driver, problems = None, []
    built_for = _built_for(runtime)
    try:
        driver = gpu.read_driver()
        gpu.check_driver(driver, built_for)
    except DeviceError as error:
        problems.append(str(error))
    try:
        providers = [_provider_file(runtime, name) for name in _LIBRARIES[engine]]
        gpu.check_libraries(providers, built_for=built_for)
    except DeviceError as error:
        problems.append(str(error))
    if problems:
        raise DeviceError("; ".join(problems))
    runtime.preload_dlls()  # and what these load in turn; it prints what it misses, so only after the check
    return driver


def cuda_options(plan: GpuPlan) -> dict[str, str]:
    """Options of the CUDA provider; a device_id, even that of the default, would make ONNX Runtime 1.26 warn."""
    options = {
        # The default doubles: with many shapes most of it is never used again.
        "arena_extend_strategy": "kSameAsRequested",
        # It would round float32 products to 10 bits. Precision is the bundle's choice, and was measured.
        "use_tf32": "0",
    }
    if plan.memory_limit_mb is not None:
        options["gpu_mem_limit"] = str(plan.memory_limit_mb * 1024 * 1024)
    return options


def _providers(
    runtime: Any, path: Path, plan: GpuPlan, driver: gpu.Driver | None
) -> list[tuple[str, dict[str, str]]]:
    cuda = (_PROVIDERS["onnxruntime"], cuda_options(plan))
    if plan.engine != "tensorrt" or plan.longest is None:
        return [cuda]
    libraries = needed_by(_provider_file(runtime, "tensorrt"))
    compiler = next((name for name in libraries if name.startswith("libnvinfer.so")), "nvinfer")
    cache = tensorrt.engine_folder(
        path,
        gpu="" if driver is None else driver.gpu,
        versions=f"onnxruntime {runtime.__version__}, TensorRT {tensorrt.version(compiler)}",
        plan=f"{plan.precision} {plan.longest}",
    )
    options = tensorrt.provider_options(plan.inputs, longest=plan.longest, precision=plan.precision, cache=cache)
    return [(_PROVIDERS["tensorrt"], options), cuda]  # CUDA has the few nodes that TensorRT leaves


def _provider_file(runtime: Any, name: str) -> Path:
    return Path(runtime.__file__).parent / "capi" / f"libonnxruntime_providers_{name}.so"


def _built_for(runtime: Any) -> str:
    """Version of CUDA that ONNX Runtime was built for, or ""."""
    return str(getattr(runtime, "cuda_version", "") or "")


def _translated(runtime: Any, what: str, error: Exception) -> EngineError:
    said = " ".join(str(error).split())
    meaning = gpu.explain(said, built_for="" if runtime is None else _built_for(runtime))
    if meaning is None:
        return EngineError(f"ONNX Runtime on the GPU {what}: {said}")
    return DeviceError(f"ONNX Runtime on the GPU {what}: {meaning} ({said:.300})")
