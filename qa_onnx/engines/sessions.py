"""A graph and a backend -> a session.

The backend and precision that the caller names are used, or an error says why not: none replaces another.
The one exception, `allow_fallback`, is in bundle/runtime.py.

Left out: which precision runs on which backend (names.py), and the engines themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.engines.lanes import LanesSession, pays_off
from qa_onnx.engines.names import PRECISIONS, Backend, check_precision
from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.engines.engine_session import CpuSession
    from qa_onnx.engines.graph_source import GraphSource
    from qa_onnx.session import Session


def check_usable(backend: Backend) -> None:
    """Refuse a backend that this machine cannot run, as far as that shows without a graph.

    Raises:
        MissingExtraError: the engine is not installed, or the installed one cannot use the device.
        DeviceError: there is no such device, or libraries for it are missing.
    """
    if backend.device == "cuda":
        from qa_onnx.engines import onnx_gpu

        onnx_gpu.check_gpu(backend.engine)
    elif backend.engine == "openvino":
        from qa_onnx.engines import openvino_cpu

        openvino_cpu.import_openvino()


def open_session(
    graph: Path | GraphSource,
    *,
    backend: Backend,
    inputs: tuple[str, ...],
    longest: int,
    threads: int | None = None,
    precision: str = "fp32",
    pad_id: int = 0,
) -> Session:
    """Open a graph in an engine.

    Args:
        graph: path of the ONNX file, or where else to get its bytes.
        backend: the engine and device that run it.
        inputs: names of the graph's inputs; used on a GPU only.
        longest: maximum tokens that the model reads; used, like `pad_id`, in OpenVINO and on a GPU.
        threads: of one run on the CPU, or of as many runs of a call side by side; None: `cpu.default_threads()`.
        precision: to compute in, one of those that the graph was made for. It selects bfloat16 in OpenVINO, and
            what TensorRT may compute in.
        pad_id: token id that pads a batch.

    Raises:
        MissingExtraError: the engine is not installed.
        EngineError: the engine does not start or cannot run the graph, the graph may not run, or the CPU lacks the
            precision.
    """
    check_precision(precision)
    if backend == Backend("openvino"):
        from qa_onnx.engines.openvino_cpu import OpenVinoSession

        bf16 = PRECISIONS[precision].bf16
        opened = OpenVinoSession(graph, threads=threads, longest=longest, pad_id=pad_id, bf16=bf16)
        return _with_lanes(opened, threads)
    if backend == Backend("onnxruntime"):
        return _with_lanes(OnnxSession(graph, threads=threads), threads)
    from qa_onnx.engines.onnx_gpu import GpuPlan, GpuSession

    plan = GpuPlan(inputs=inputs, longest=longest, engine=backend.engine, precision=precision, pad_id=pad_id)
    return GpuSession(graph, plan)


def _with_lanes(session: CpuSession, threads: int | None) -> Session:
    """Let a session run batches side by side, a thread for each, if that pays off."""
    lanes = cpu.default_threads() if threads is None else threads
    return LanesSession(session, lanes) if pays_off(lanes, session.graph_bytes) else session
