"""Which engine runs a graph where.

    engine        device   precisions, best first
    onnxruntime   cpu      int8, fp32, int8-static, fp16
    onnxruntime   cuda     fp16, fp32
    openvino      cpu      int8-static, fp32
    tensorrt      cuda     fp16, fp32, of graphs in standard operators

A place that was asked for is used, or an error says why it cannot be: no engine or device stands in for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from qa_onnx.errors import EngineError
from qa_onnx.session import Device, OnnxSession, Session, check_device

if TYPE_CHECKING:
    from pathlib import Path

Engine: TypeAlias = Literal["onnxruntime", "openvino", "tensorrt"]

PREFERRED: dict[str, tuple[str, ...]] = {
    "onnxruntime/cpu": ("int8", "fp32", "int8-static", "fp16"),
    "onnxruntime/cuda": ("fp16", "fp32"),
    "openvino/cpu": ("int8-static", "fp32"),
    "tensorrt/cuda": ("fp16", "fp32", "int8-static"),
}
ENGINES: tuple[Engine, ...] = ("onnxruntime", "openvino", "tensorrt")


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


def check_usable(place: str) -> None:
    """Refuse a place that cannot be used on this machine, as far as that shows without a graph.

    Raises:
        MissingExtraError: the engine is not installed, or the installed one cannot drive the device.
        DeviceError: the device is not there, or libraries for it are missing.
    """
    engine, device = place.split("/")
    if device == "cuda":
        from qa_onnx import gpu_session

        gpu_session.check_usable(engine)
    elif engine == "openvino":
        from qa_onnx import openvino_session

        openvino_session.import_openvino()


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
        threads: of one run on the CPU; None: `machine.default_threads()`.
        precision: see `GpuPlan`, as is the next; they matter on a GPU alone.
        inputs: names of the graph's inputs.
        longest: tokens that the model reads at most; it and the next matter to OpenVINO and on a GPU.
        pad_id: token id that pads a batch.

    Raises:
        MissingExtraError: the engine is not installed.
        EngineError: it does not start on the device, or cannot run the graph.
    """
    place = check_place(engine, device)
    if place == "openvino/cpu":
        from qa_onnx.openvino_session import OpenVinoSession

        return OpenVinoSession(path, threads=threads, longest=longest, pad_id=pad_id)
    if place == "onnxruntime/cpu":
        return OnnxSession(path, threads=threads)
    from qa_onnx.gpu_session import GpuPlan, GpuSession

    plan = GpuPlan(
        engine="tensorrt" if engine == "tensorrt" else "onnxruntime",
        precision=precision,
        longest=longest,
        inputs=inputs,
        pad_id=pad_id,
    )
    return GpuSession(path, plan)
