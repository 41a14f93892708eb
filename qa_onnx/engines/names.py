"""Names of engines and devices, and the one table of what each backend computes.

    engine        device   precisions, best first
    onnxruntime   cpu      int8, fp32, int8-static, fp16
    onnxruntime   cuda     fp16, fp32
    openvino      cpu      int8-static-bf16, int8-static, bf16, fp32
    tensorrt      cuda     fp16, fp32, of graphs in standard operators

bf16 and int8-static-bf16 are the graphs of fp32 and int8-static, computed in bfloat16 except for products of int8.
They run only on CPUs that have instructions for it.

Left out: opening an engine (sessions.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from qa_onnx.errors import EngineError
from qa_onnx.machine import cpu
from qa_onnx.options import check_bounds

Engine: TypeAlias = Literal["onnxruntime", "openvino", "tensorrt"]
Device: TypeAlias = Literal["cpu", "cuda"]
# A new precision also needs: its backends below, `_SINCE` in bundle/manifest.py, `TOLERANCE` in
# evaluation/golden.py, a branch in export/precisions.py, and for calibration data `_check_precisions` in
# export/exporter.py.
PrecisionName: TypeAlias = Literal["fp32", "fp16", "int8", "int8-static", "bf16", "int8-static-bf16"]

ENGINES: tuple[Engine, ...] = get_args(Engine)
DEVICES: tuple[Device, ...] = get_args(Device)
PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName)

# Precisions that OpenVINO computes in bfloat16 -> the precision whose graph they run.
IN_BF16 = {"bf16": "fp32", "int8-static-bf16": "int8-static"}


@dataclass(frozen=True, slots=True)
class Backend:
    """An engine on a device. As text it is "engine/device", as in a bundle's manifest.

    Attributes:
        engine: "onnxruntime", "openvino" or "tensorrt".
        device: "cpu" or "cuda".

    Raises:
        EngineError: an unknown engine or device, or an engine that does not support the device.
    """

    engine: Engine = "onnxruntime"
    device: Device = "cpu"

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise EngineError(f"device is {self.device!r}; it must be one of {', '.join(DEVICES)}")
        if self.engine not in ENGINES:
            raise EngineError(f"engine is {self.engine!r}; it must be one of {', '.join(ENGINES)}")
        if str(self) not in _PRECISIONS_OF:
            raise EngineError(
                f"engine {self.engine!r} does not run on device {self.device!r}; it can be "
                f"{', '.join(_PRECISIONS_OF)}"
            )

    def __str__(self) -> str:
        return f"{self.engine}/{self.device}"

    @classmethod
    def parse(cls, name: str) -> Backend:
        """Return the backend of a name such as "onnxruntime/cpu".

        Raises:
            EngineError: there is no such backend.
        """
        engine, _, device = name.partition("/")
        return cls(engine, device)  # type: ignore[arg-type]  # __post_init__ checks them

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that run on this backend, best first."""
        return _PRECISIONS_OF[str(self)]


# The order of backends matters too: exports measure a precision on the first one that runs it.
_PRECISIONS_OF: dict[str, tuple[str, ...]] = {
    "onnxruntime/cpu": ("int8", "fp32", "int8-static", "fp16"),
    "onnxruntime/cuda": ("fp16", "fp32"),
    "openvino/cpu": ("int8-static-bf16", "int8-static", "bf16", "fp32"),
    "tensorrt/cuda": ("fp16", "fp32"),
}
BACKENDS = tuple(map(Backend.parse, _PRECISIONS_OF))


def backends_of(precision: str) -> tuple[Backend, ...]:
    """Return the backends that run a precision; exports measure it on the first."""
    return tuple(backend for backend in BACKENDS if precision in backend.precisions)


def usual_engine(precision: str | None, device: str) -> Engine:
    """Return the default engine for a precision: ONNX Runtime, unless only OpenVINO computes it."""
    return "openvino" if precision in IN_BF16 and device == "cpu" else "onnxruntime"


def why_not(precision: str) -> str:
    """Return why this CPU cannot compute in a precision; "" if it can.

    Without instructions for bfloat16, OpenVINO would emulate it, which is slow, or ignore it, with other results
    than those that were measured.
    """
    if precision not in IN_BF16 or cpu.has_bf16():
        return ""
    if cpu.instruction_sets():
        return f"this CPU has no bf16 (neither {' nor '.join(cpu.BF16_SETS)})"
    return "it is not known whether this CPU has bf16 (only Linux on x86-64 tells)"


def check_precision(precision: str) -> None:
    """Refuse a precision that this CPU cannot compute in.

    Raises:
        EngineError: the CPU has no instructions for it.
    """
    if reason := why_not(precision):
        remedy = f"use {IN_BF16[precision]}, the same graph without bf16"
        raise EngineError(f"{precision} cannot run here, since {reason}", remedy=remedy)


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that is out of range; None is the default.

    Raises:
        EngineError: it is out of range.
    """
    if threads is not None:
        check_bounds("threads", threads, EngineError)
