"""A graph and a backend -> a session.

A backend or precision that the user names is used, or an error says why it cannot be: none replaces another.

Left out: which precision runs on which backend (names.py), and the engines themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.engines.names import IN_BF16, Backend, check_precision
from qa_onnx.engines.onnx_cpu import OnnxSession

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.session import Session


def check_usable(backend: Backend) -> None:
    """Refuse a backend that cannot be used on this machine, as far as that shows without a graph.

    Raises:
        MissingExtraError: the engine is not installed, or the installed one cannot drive the device.
        DeviceError: the device is not there, or libraries for it are missing.
    """
    if backend.device == "cuda":
        from qa_onnx.engines import onnx_gpu

        onnx_gpu.check_usable(backend.engine)
    elif backend.engine == "openvino":
        from qa_onnx.engines import openvino_cpu

        openvino_cpu.import_openvino()


def open_session(
    path: Path,
    *,
    backend: Backend,
    threads: int | None = None,
    precision: str = "fp32",
    inputs: tuple[str, ...] = (),
    longest: int | None = None,
    pad_id: int = 0,
) -> Session:
    """Open a graph in an engine.

    Args:
        path: the ONNX file.
        backend: that runs it.
        threads: of one run on the CPU; None: `cpu.default_threads()`.
        precision: what to compute in, of those that the graph was made for: bfloat16 or not in OpenVINO; see
            `GpuPlan` for a GPU.
        inputs: names of the graph's inputs; they matter on a GPU alone.
        longest: tokens that the model reads at most; it and the next matter to OpenVINO and on a GPU.
        pad_id: token id that pads a batch.

    Raises:
        MissingExtraError: the engine is not installed.
        EngineError: it does not start on the device, or cannot run the graph; or the CPU lacks the precision.
    """
    check_precision(precision)
    if backend == Backend("openvino"):
        from qa_onnx.engines.openvino_cpu import OpenVinoSession

        return OpenVinoSession(path, threads=threads, longest=longest, pad_id=pad_id, bf16=precision in IN_BF16)
    if backend == Backend("onnxruntime"):
        return OnnxSession(path, threads=threads)
    from qa_onnx.engines.onnx_gpu import GpuPlan, GpuSession

    plan = GpuPlan(
        engine="tensorrt" if backend.engine == "tensorrt" else "onnxruntime",
        precision=precision,
        longest=longest,
        inputs=inputs,
        pad_id=pad_id,
    )
    return GpuSession(path, plan)
