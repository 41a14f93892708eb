"""What a reader runs if its caller names neither precision nor engine: the fastest that answers well enough.

How fast each precision is in each engine is known from measurements on CPUs of the same kind. So nothing is
measured here, and the same machine always chooses the same. ONNX Runtime runs the bundle's usual precision, unless
an installed engine is expected to be clearly faster, with a precision whose receipt passes its gate.

Left out: measuring on the machine itself (`qa-onnx tune`), and GPUs, which a caller names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.engines.names import BACKENDS, PRECISIONS, Backend
from qa_onnx.engines.sessions import check_usable
from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.bundle.tuned import Profile

# Questions a second, text to answer, as a multiple of fp32 in ONNX Runtime, by what the CPU has. Measured with
# MiniLM on two cores: benchmarks/README.md has the tables.
_ORT, _OPENVINO = "onnxruntime/cpu", "openvino/cpu"
_SPEEDS: dict[str, Mapping[tuple[str, str], float]] = {
    "AMX": {
        ("fp32", _ORT): 1.0, ("fp32", _OPENVINO): 1.0, ("int8", _ORT): 1.85, ("int8-static", _ORT): 1.6,
        ("bf16", _OPENVINO): 2.3, ("int8-static", _OPENVINO): 2.4, ("int8-static-bf16", _OPENVINO): 2.6,
    },
    "VNNI and bf16": {
        ("fp32", _ORT): 1.0, ("fp32", _OPENVINO): 1.0, ("int8", _ORT): 2.0, ("int8-static", _ORT): 1.8,
        ("bf16", _OPENVINO): 1.55, ("int8-static", _OPENVINO): 1.95, ("int8-static-bf16", _OPENVINO): 2.15,
    },
    "VNNI": {  # not measured: as the kind above, without bf16
        ("fp32", _ORT): 1.0, ("fp32", _OPENVINO): 1.0, ("int8", _ORT): 2.0, ("int8-static", _ORT): 1.8,
        ("int8-static", _OPENVINO): 1.95,
    },
    "neither VNNI nor bf16": {
        ("fp32", _ORT): 1.0, ("fp32", _OPENVINO): 0.92, ("int8", _ORT): 1.36, ("int8-static", _ORT): 1.26,
        ("int8-static", _OPENVINO): 0.74,
    },
}  # fmt: skip
# Another engine than ONNX Runtime must be faster by this: it takes longer to start, and more memory.
_CLEARLY = 1.1


@dataclass(frozen=True, slots=True)
class Choice:
    """A precision, the backend that runs it, and the speed that is expected of it, see `_SPEEDS`; 0: unknown."""

    precision: str
    backend: Backend
    speed: float

    def __str__(self) -> str:
        return f"{self.precision} in {self.backend}"


def cpu_kind() -> str:
    """Return which of the kinds of `_SPEEDS` this CPU is."""
    sets = cpu.instruction_sets()
    if {"amx_int8", "amx_bf16"} <= set(sets):
        return "AMX"
    if not cpu.exact_int8(sets):
        return "neither VNNI nor bf16"
    return "VNNI" if set(sets).isdisjoint(cpu.BF16_SETS) else "VNNI and bf16"


def choose(bundle: Bundle) -> Choice:
    """Return what a reader of the bundle runs on this CPU if its caller names nothing.

    Raises:
        EngineError: the bundle holds nothing for the CPU that an installed engine runs.
    """
    speeds = _SPEEDS[cpu_kind()]
    usual = _usual(bundle, speeds)
    for choice in sorted(_possible(bundle, speeds), key=lambda one: -one.speed):
        if usual and choice.speed <= _CLEARLY * usual.speed:
            break
        if choice.backend.engine == "onnxruntime" or _installed(choice.backend):
            return choice
    return usual or Choice(bundle.best_precision(Backend("onnxruntime")), Backend("onnxruntime"), 0.0)


def explain(bundle: Bundle, tuned: Profile | None) -> str:
    """Return in a line what a reader of the bundle runs here if its caller names nothing, and why."""
    if tuned is not None:
        return str(tuned)
    try:
        choice = choose(bundle)
    except EngineError as error:
        return f"nothing by itself: {error.problem}"
    reason = f"the fastest that is known for a CPU with {cpu_kind()}" if choice.speed else "the usual precision"
    return f"{choice}, {reason}; qa-onnx tune finds out what is the fastest here"


def advise(bundle: Bundle, tuned: Profile | None) -> tuple[str, str] | None:
    """Return what would answer faster on this CPU, and how to get it.

    It is None if nothing is expected to, or if the bundle was tuned here. A precision that the bundle holds, but
    whose receipt does not pass its gate, is not advised.
    """
    speeds = _SPEEDS[cpu_kind()]
    known = tuned is None and _usual(bundle, speeds)
    now = choose(bundle) if known else None
    if now is None or not now.speed:
        return None
    graphs = bundle.manifest.graphs
    best = max(
        (
            Choice(precision, Backend.parse(backend), speed)
            for (precision, backend), speed in speeds.items()
            if precision not in graphs or _measured(bundle, precision)
        ),
        key=lambda one: one.speed,
    )
    if best.speed <= _CLEARLY * now.speed:
        return None
    steps = [] if _installed(best.backend) else [f"pip install 'qa-onnx[{best.backend.engine}]'"]
    if best.precision not in graphs:
        calibration = " --calibration-data FILE" if PRECISIONS[best.precision].fixed_ranges else ""
        steps.append(bundle.how_to_add(f"--precision {best.precision}{calibration} --eval-data FILE"))
    what = f"{best} would answer about {best.speed / now.speed:.1f} times as many questions here as {now}"
    return what, "; ".join(steps)


def _usual(bundle: Bundle, speeds: Mapping[tuple[str, str], float]) -> Choice | None:
    """Return what ONNX Runtime runs; None if the bundle has nothing for it."""
    backend = Backend("onnxruntime")
    try:
        precision = bundle.best_precision(backend)
    except EngineError:
        return None
    return Choice(precision, backend, speeds.get((precision, str(backend)), 0.0))


def _possible(bundle: Bundle, speeds: Mapping[tuple[str, str], float]) -> Iterator[Choice]:
    """Yield each measured precision of the bundle on each backend, if it runs on this CPU at a known speed."""
    for backend in BACKENDS:
        for precision in bundle.precisions(backend):
            speed = speeds.get((precision, str(backend)))  # none where the CPU lacks what the precision needs
            if speed is not None and _measured(bundle, precision):
                yield Choice(precision, backend, speed)


def _measured(bundle: Bundle, precision: str) -> bool:
    """Tell whether a precision's receipt shows the share of fp32's F1 that its export asked for."""
    receipt = bundle.receipt(precision)
    return receipt is not None and receipt.percent_of_fp32 >= receipt.gate


def _installed(backend: Backend) -> bool:
    try:
        check_usable(backend)
    except (MissingExtraError, EngineError):
        return False
    return True
