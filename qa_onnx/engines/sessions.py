"""Which engine runs a graph where.

    engine        device   precisions, best first
    onnxruntime   cpu      int8, fp32, int8-static, fp16
    onnxruntime   cuda     fp16, fp32
    openvino      cpu      int8-static-bf16, int8-static, bf16, fp32
    tensorrt      cuda     fp16, fp32, of graphs in standard operators

bf16 and int8-static-bf16 are the graphs of fp32 and int8-static, computed in bfloat16 but for products of int8.
They run only on CPUs with instructions for it.

A place or precision that was asked for is used, or an error says why it cannot be: none stands in for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from qa_onnx.errors import EngineError
from qa_onnx.machine import cpu
from qa_onnx.session import Device, OnnxSession, Session, check_device

if TYPE_CHECKING:
    from pathlib import Path

Engine: TypeAlias = Literal["onnxruntime", "openvino", "tensorrt"]

PREFERRED: dict[str, tuple[str, ...]] = {
    "onnxruntime/cpu": ("int8", "fp32", "int8-static", "fp16"),
    "onnxruntime/cuda": ("fp16", "fp32"),
    "openvino/cpu": ("int8-static-bf16", "int8-static", "bf16", "fp32"),
    "tensorrt/cuda": ("fp16", "fp32", "int8-static"),
}
ENGINES: tuple[Engine, ...] = ("onnxruntime", "openvino", "tensorrt")

# Precisions that OpenVINO computes in bfloat16, and the one whose graph each of them runs.
IN_BF16 = {"bf16": "fp32", "int8-static-bf16": "int8-static"}


def check_place(engine: str, device: str) -> str:
    """The name, "engine/device", under which a manifest says where a graph runs.

    Raises:
        EngineError: there is no such engine or device, or the one does not run on the other.
    """
    check_device(device)
    if engine not in ENGINES:
        raise EngineError(f"engine is {engine!r}; it must be one of {', '.join(ENGINES)}")
    place = f"{engine}/{device}"
    if place not in PREFERRED:
        raise EngineError(f"engine {engine!r} does not run on device {device!r}; it can be {', '.join(PREFERRED)}")
    return place


def usual_engine(precision: str | None, device: str) -> Engine:
    """The engine for a precision where none is asked for: ONNX Runtime, where that has the precision."""
    return "openvino" if precision in IN_BF16 and device == "cpu" else "onnxruntime"


def why_not(precision: str) -> str:
    """Why this CPU cannot compute in a precision; empty where it can.

    OpenVINO would emulate bfloat16 or leave it out, slower or with other results than those that were measured.
    """
    if precision not in IN_BF16 or cpu.has_bf16():
        return ""
    if cpu.instruction_sets():
        return f"this CPU has no bf16 (neither {' nor '.join(cpu.BF16_SETS)})"
    return "it is not known whether this CPU has bf16 (only Linux on x86-64 tells)"


def check_precision(precision: str) -> None:
    """Refuse a precision in which this CPU cannot compute.

    Raises:
        EngineError: it cannot.
    """
    reason = why_not(precision)
    if reason:
        other = IN_BF16[precision]
        raise EngineError(f"{precision} cannot run here, since {reason}: use {other}, the same graph without bf16")


def check_usable(place: str) -> None:
    """Refuse a place that cannot be used on this machine, as far as that shows without a graph.

    Raises:
        MissingExtraError: the engine is not installed, or the installed one cannot drive the device.
        DeviceError: the device is not there, or libraries for it are missing.
    """
    engine, device = place.split("/")
    if device == "cuda":
        from qa_onnx.engines import onnx_gpu

        onnx_gpu.check_usable(engine)
    elif engine == "openvino":
        from qa_onnx.engines import openvino_cpu

        openvino_cpu.import_openvino()


def open_session(
    path: Path,
    *,
    engine: Engine = "onnxruntime",
    device: Device = "cpu",
    threads: int | None = None,
    precision: str = "fp32",
    inputs: tuple[str, ...] = (),
    longest: int | None = None,
    pad_id: int = 0,
) -> Session:
    """Open a graph in an engine.

    Args:
        path: the ONNX file.
        engine: "onnxruntime", "openvino" or "tensorrt".
        device: "cpu" or "cuda".
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
    place = check_place(engine, device)
    check_precision(precision)
    if place == "openvino/cpu":
        from qa_onnx.engines.openvino_cpu import OpenVinoSession

        return OpenVinoSession(path, threads=threads, longest=longest, pad_id=pad_id, bf16=precision in IN_BF16)
    if place == "onnxruntime/cpu":
        return OnnxSession(path, threads=threads)
    from qa_onnx.engines.onnx_gpu import GpuPlan, GpuSession

    plan = GpuPlan(
        engine="tensorrt" if engine == "tensorrt" else "onnxruntime",
        precision=precision,
        longest=longest,
        inputs=inputs,
        pad_id=pad_id,
    )
    return GpuSession(path, plan)
