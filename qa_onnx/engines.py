"""Which engine runs a graph where.

    engine        device   precisions, best first
    onnxruntime   cpu      int8, fp32, int8-static, fp16
    onnxruntime   cuda     fp16, fp32
    openvino      cpu      int8-static, fp32

A place that was asked for is used, or an error says why it cannot be: no engine or device stands in for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from qa_onnx.errors import EngineError
from qa_onnx.session import Device, OnnxSession, Session, check_device

if TYPE_CHECKING:
    from pathlib import Path

Engine: TypeAlias = Literal["onnxruntime", "openvino"]

PREFERRED: dict[str, tuple[str, ...]] = {
    "onnxruntime/cpu": ("int8", "fp32", "int8-static", "fp16"),
    "onnxruntime/cuda": ("fp16", "fp32"),
    "openvino/cpu": ("int8-static", "fp32"),
}
ENGINES: tuple[Engine, ...] = ("onnxruntime", "openvino")


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


def open_session(
    path: Path, *, engine: Engine = "onnxruntime", device: Device = "cpu", threads: int | None = None
) -> Session:
    """Open a graph in an engine.

    Args:
        path: the ONNX file.
        engine: "onnxruntime" or "openvino".
        device: "cpu" or "cuda".
        threads: of one run on the CPU; None: `machine.default_threads()`.

    Raises:
        MissingExtraError: the engine is not installed.
        EngineError: it does not start on the device, or cannot run the graph.
    """
    if check_place(engine, device) == "openvino/cpu":
        from qa_onnx.openvino_session import OpenVinoSession

        return OpenVinoSession(path, threads=threads)
    return OnnxSession(path, device=device, threads=threads)
