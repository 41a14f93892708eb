"""Names of engines, devices and precisions, and the one table of what each precision is and which backends run it.

A new precision is a record of `PRECISIONS` here, with the bundle format that introduces it (`FORMAT_VERSION` in
bundle/manifest.py), the function in export/precisions.py that makes its graph, its speeds in bundle/choice.py if
a reader may choose it unasked, and a word about it where people read of precisions: the docstring of
`Reader.load`, the help of `qa-onnx export`, docs/engines.md. Commands, tuning, benchmarks and the doctor follow
the table.

Left out: opening an engine (sessions.py).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from qa_onnx.errors import EngineError, quoted
from qa_onnx.machine import cpu
from qa_onnx.options import check_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

Engine: TypeAlias = Literal["onnxruntime", "openvino", "tensorrt"]
Device: TypeAlias = Literal["cpu", "cuda"]

ENGINES: tuple[Engine, ...] = get_args(Engine)
DEVICES: tuple[Device, ...] = get_args(Device)

_CPU, _CUDA, _OPENVINO, _TENSORRT = "onnxruntime/cpu", "onnxruntime/cuda", "openvino/cpu", "tensorrt/cuda"
_BACKENDS = (_CPU, _CUDA, _OPENVINO, _TENSORRT)


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
            raise EngineError(f"device is {quoted(self.device)}; it must be one of {', '.join(DEVICES)}")
        if self.engine not in ENGINES:
            raise EngineError(f"engine is {quoted(self.engine)}; it must be one of {', '.join(ENGINES)}")
        if str(self) not in _BACKENDS:
            raise EngineError(
                f"engine {self.engine!r} does not run on device {self.device!r}; it can be {', '.join(_BACKENDS)}"
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
        ranks = {name: one.ranks[str(self)] for name, one in PRECISIONS.items() if str(self) in one.ranks}
        return tuple(sorted(ranks, key=ranks.__getitem__))


BACKENDS = tuple(map(Backend.parse, _BACKENDS))  # an export measures a precision on the first that runs it


@dataclass(frozen=True, slots=True)
class Precision:
    """How the numbers of a graph are stored and computed.

    Attributes:
        graph: the precision whose graph it always computes: itself, or for the two with bf16 the one without.
        ranks: backends that run it, as "engine/device", and its rank there. Of a bundle's precisions, the one with
            the lowest rank is used if the user names none.
        tolerance: largest absolute difference of a golden logit on another machine.
        made_from: backend -> the precision whose graph it converts while loading, if the bundle has no own one.
        bf16: whether it computes in bfloat16, except for products of int8; the CPU must have instructions for it.
        quantized: whether its weights are integers, so that nodes can be excluded to reach the gate.
        fixed_ranges: whether it fixes the ranges of activations, so that an export needs calibration data.
        needs_receipt: whether tuning chooses it only if its accuracy was measured; others are held to parity.
        since: the bundle format that introduced it, major and minor; older releases ask for an upgrade.
    """

    graph: str
    ranks: Mapping[str, int]
    tolerance: float
    _: KW_ONLY
    made_from: Mapping[str, str] = field(default_factory=dict)
    bf16: bool = False
    quantized: bool = False
    fixed_ranges: bool = False
    needs_receipt: bool = True
    since: tuple[int, int] = (1, 0)


# By name, as commands and manifests write it. Tolerances: integer products are exact, but a float that another CPU
# rounds to the next integer moves the int8 logits visibly. bfloat16 has 8 bits, 3 less than float16, and AMX sums
# its products in another order than AVX-512 does: MiniLM's logits differ by 0.06 there.
PRECISIONS = {
    "fp32": Precision("fp32", {_CPU: 2, _CUDA: 2, _OPENVINO: 4, _TENSORRT: 2}, 1e-3, needs_receipt=False),
    "fp16": Precision(
        "fp16", {_CPU: 4, _CUDA: 1, _TENSORRT: 1}, 0.1, made_from={_TENSORRT: "fp32"}, needs_receipt=False
    ),
    "int8": Precision("int8", {_CPU: 1}, 1.0, quantized=True),
    "int8-static": Precision("int8-static", {_CPU: 3, _OPENVINO: 2}, 1.0, quantized=True, fixed_ranges=True),
    "bf16": Precision("fp32", {_OPENVINO: 3}, 0.5, bf16=True, since=(1, 1)),
    "int8-static-bf16": Precision(
        "int8-static", {_OPENVINO: 1}, 1.0, bf16=True, quantized=True, fixed_ranges=True, since=(1, 1)
    ),
}


def backends_of(precision: str) -> tuple[Backend, ...]:
    """Return the backends that run a precision; exports measure it on the first."""
    return tuple(backend for backend in BACKENDS if precision in backend.precisions)


def usual_engine(precision: str | None, device: str) -> Engine:
    """Return the default engine for a precision on a device: ONNX Runtime, unless only another one computes it."""
    engines = [backend.engine for backend in backends_of(precision or "") if backend.device == device]
    return engines[0] if engines else "onnxruntime"


def missing_instructions(precision: str) -> str:
    """Return why this CPU cannot compute in a precision; "" if it can.

    Without instructions for bfloat16, OpenVINO would emulate it, which is slow, or ignore it, with other results
    than those that were measured.
    """
    if not PRECISIONS[precision].bf16 or cpu.has_bf16():
        return ""
    if cpu.instruction_sets():
        return f"this CPU has no bf16 (neither {' nor '.join(cpu.BF16_SETS)})"
    return "it is not known whether this CPU has bf16 (only Linux on x86-64 tells)"


def check_precision(precision: str) -> None:
    """Refuse a precision that this CPU cannot compute in.

    Raises:
        EngineError: the CPU has no instructions for it.
    """
    if reason := missing_instructions(precision):
        remedy = f"use {PRECISIONS[precision].graph}, the same graph without bf16"
        raise EngineError(f"{precision} cannot run here, since {reason}", remedy=remedy)


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that is out of range; None is the default.

    Raises:
        EngineError: it is out of range.
    """
    if threads is not None:
        check_bounds("threads", threads, EngineError)
