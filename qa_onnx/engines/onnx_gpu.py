"""Arrays -> logits on an NVIDIA GPU, in ONNX Runtime's CUDA or TensorRT provider.

Batches are padded to a few lengths (padding.py), and inputs and outputs are bound to the device. A binding serves
one call at a time: two calls that share one would overwrite each other's inputs. Left out: CUDA graphs, which want
every shape fixed and all nodes on the GPU, and packed attention.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.engines import tensorrt
from qa_onnx.engines.engine_session import EngineSession
from qa_onnx.engines.onnx_runtime import import_onnxruntime, input_names, session_options
from qa_onnx.engines.padding import bucket_of, length_buckets
from qa_onnx.errors import DeviceError, EngineError, MissingExtraError
from qa_onnx.machine import nvidia
from qa_onnx.session import OUTPUTS, RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.engines.graph_source import GraphSource
    from qa_onnx.engines.names import Engine
    from qa_onnx.session import Stop

_PROVIDERS = {"onnxruntime": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}

# Without a device_id, even the default one, since it would make ONNX Runtime 1.26 warn.
CUDA_OPTIONS = {
    # By default it doubles: with many shapes, most of it is never used again.
    "arena_extend_strategy": "kSameAsRequested",
    # TF32 would round float32 products to 10 bits. The bundle's precision is what was measured.
    "use_tf32": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPlan:
    """How a graph runs on a GPU: in ONNX Runtime's CUDA provider or TensorRT. See `sessions.open_session`."""

    inputs: tuple[str, ...]
    longest: int
    engine: Engine = "onnxruntime"
    precision: str = "fp32"
    pad_id: int = 0


class GpuSession(EngineSession):
    """An ONNX file on a GPU. The CPU never takes over silently.

    It pickles by its arguments. In a process that was forked from one that used CUDA, `run` raises: CUDA cannot.

    Args:
        graph: the file's path, or where else to get its bytes; see `OnnxSession`.
        plan: how to run it.

    Raises:
        MissingExtraError: no ONNX Runtime is installed, or the installed one cannot use a GPU.
        DeviceError: the GPU cannot be used: driver, libraries or memory.
        EngineError: two ONNX Runtimes are installed, or the file is no QA graph.
    """

    run_overhead = RUN_OVERHEAD["cuda"]
    leaves_cpu_idle = True

    def __init__(self, graph: Path | GraphSource, plan: GpuPlan) -> None:
        self._plan, self._buckets = plan, length_buckets(plan.longest)
        super().__init__(graph, pad_id=plan.pad_id)

    def _open(self) -> tuple[Any, tuple[str, ...]]:
        onnxruntime = import_onnxruntime()
        gpu = check_gpu(self._plan.engine)
        options = session_options(onnxruntime, 1)  # the few nodes that run on the CPU gain nothing from threads
        with self._graph.open() as model:
            providers = _providers(onnxruntime, model, self._plan, gpu)
            try:
                # ONNX Runtime would fall back to the CPU and print that. A caller who names a GPU gets an error.
                session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
                session.disable_fallback()
            except Exception as error:  # onnxruntime's exceptions have no other common base
                raise _translated(f"cannot load {self._graph.name}", error) from error
        used, wanted = session.get_providers(), providers[0][0]
        if used[0] != wanted:
            problem = f"ONNX Runtime {onnxruntime.__version__} fell back from {wanted} to {used[0]}"
            missing = nvidia.missing_libraries(_cuda(onnxruntime), tensorrt=self._plan.engine == "tensorrt")
            cause = "a library of CUDA or cuDNN may not load" if missing is None else missing.problem
            remedy = "pip install 'qa-onnx[gpu]'" if missing is None else missing.remedy
            raise DeviceError(f"{problem}: {cause}", remedy=remedy)
        self._run_options = onnxruntime.RunOptions
        return session, input_names(session)

    def _request(self, model: Any) -> Any:
        return model.io_binding()

    def _length(self, tokens: int) -> int:
        return bucket_of(tokens, self._buckets)

    def _compute(self, model: Any, request: Any, inputs: dict[str, NDArray[np.int64]], stop: Stop) -> Any:
        options = self._run_options()
        rows = max(1, len(inputs["input_ids"]))
        most = tensorrt.MOST_ROWS if self._plan.engine == "tensorrt" else rows
        with stop.ends(lambda: setattr(options, "terminate", True)):
            parts = [
                self._outputs(
                    model, request, {name: array[row : row + most] for name, array in inputs.items()}, options
                )
                for row in range(0, rows, most)
            ]
        return parts[0] if len(parts) == 1 else [np.concatenate(logits) for logits in zip(*parts, strict=True)]

    def _error(self, what: str, error: Exception) -> EngineError:
        return _translated(what, error)

    @staticmethod
    def _outputs(session: Any, binding: Any, inputs: Mapping[str, NDArray[np.int64]], options: Any) -> list[Any]:
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)  # copies to the device
        for name in OUTPUTS:
            binding.bind_output(name, "cuda")
        binding.synchronize_inputs()
        session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
        outputs: list[Any] = binding.copy_outputs_to_cpu()
        # Otherwise the arrays, and the device memory of the logits, would stay allocated until the next call.
        binding.clear_binding_inputs()
        binding.clear_binding_outputs()
        return outputs

    def __reduce__(self) -> tuple[Any, ...]:
        return GpuSession, (self._graph, self._plan)


def check_gpu(engine: str) -> str:
    """Refuse a machine on which an engine cannot reach a GPU, and return the GPU's name.

    Args:
        engine: "onnxruntime" or "tensorrt".

    Returns:
        The name; "" where only ONNX Runtime itself can tell, on other systems than Linux.

    Raises:
        MissingExtraError: the installed ONNX Runtime was not built for it.
        DeviceError: driver, GPU or libraries are missing or too old.
    """
    onnxruntime = import_onnxruntime()
    if _PROVIDERS[engine] not in onnxruntime.get_available_providers():
        what = "TensorRT" if engine == "tensorrt" else "device 'cuda'"
        without = sys.platform == "linux" and nvidia.load_library(nvidia.DRIVER).error is not None
        missing, first = (
            (", and no NVIDIA driver was found", f"{nvidia.INSTALL_DRIVER}; ") if without else ("", "")
        )
        raise MissingExtraError(
            f"the installed ONNX Runtime {onnxruntime.__version__} cannot use {what}{missing}",
            remedy=f"{first}pip uninstall onnxruntime, then pip install 'qa-onnx[gpu]'",
        )
    gpu = ""
    if sys.platform == "linux":
        gpu = nvidia.usable_gpu(_cuda(onnxruntime), tensorrt=engine == "tensorrt")
    onnxruntime.preload_dlls()  # after the check, since it prints what it misses
    return gpu


def _providers(onnxruntime: Any, model: bytes | Path, plan: GpuPlan, gpu: str) -> list[tuple[str, dict[str, str]]]:
    cuda = (_PROVIDERS["onnxruntime"], CUDA_OPTIONS)
    if plan.engine != "tensorrt":
        return [cuda]
    cache = tensorrt.engine_folder(
        model,
        gpu=gpu,
        versions=f"onnxruntime {onnxruntime.__version__}, TensorRT {tensorrt.version()}",
        plan=f"{plan.precision} {plan.longest}",
    )
    options = tensorrt.provider_options(plan.inputs, longest=plan.longest, precision=plan.precision, cache=cache)
    return [(_PROVIDERS["tensorrt"], options), cuda]  # CUDA runs the few nodes that TensorRT cannot


def _cuda(onnxruntime: Any) -> str:
    """Return the version of CUDA that ONNX Runtime was built for, or ""."""
    return str(getattr(onnxruntime, "cuda_version", "") or "")


def _translated(what: str, error: Exception) -> EngineError:
    """Return the error for an exception of ONNX Runtime: a DeviceError with a remedy if the GPU is the cause."""
    text = " ".join(str(error).split())
    known = nvidia.explain(text, cuda=_cuda(import_onnxruntime()))
    if known is None:
        return EngineError(f"ONNX Runtime on the GPU {what}: {text}")
    return DeviceError(f"ONNX Runtime on the GPU {what}: {known.problem} ({text:.300})", remedy=known.remedy)
