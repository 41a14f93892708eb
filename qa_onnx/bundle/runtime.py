"""A bundle and the caller's settings -> the runtime: graph, backend, threads; and an open session for it.

1. If the caller names no precision, device, engine and threads: the result of `qa-onnx tune`, if there is one.
2. Device: the named one, else the CPU. No GPU is looked for, but a profile may name one.
3. If the caller names neither precision nor engine, on the CPU: what choice.py expects to be the fastest.
4. Engine: the named one, else ONNX Runtime; OpenVINO for the precisions with bf16.
5. Precision: the named one, else the backend's best that the bundle holds and this CPU computes.
6. With `allow_fallback`, the CPU replaces a GPU that cannot be used; only here, before anything is answered. The
   named precision stays if the bundle has it for the CPU; else it is what step 3 chooses.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qa_onnx.bundle.choice import choose
from qa_onnx.bundle.tuned import find_profile
from qa_onnx.engines.names import Backend, usual_engine
from qa_onnx.engines.sessions import check_usable, open_session
from qa_onnx.errors import DeviceError, EngineError, MissingExtraError
from qa_onnx.machine import cpu
from qa_onnx.options import BATCH_TOKENS

if TYPE_CHECKING:
    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.engines.names import Device, Engine
    from qa_onnx.session import Session


@dataclass(frozen=True, slots=True)
class Runtime:
    """The settings that a bundle runs with.

    Attributes:
        precision: one of the bundle's, or fp16 that TensorRT makes of fp32.
        backend: runs the graph.
        threads: of one run on the CPU; None: `cpu.default_threads()`.
        batch_tokens: from the tuning profile, or the default of a GPU; None: the default of a CPU.
        fallback: that the CPU replaces a GPU, and why; "": it does not.
    """

    precision: str
    backend: Backend
    threads: int | None
    batch_tokens: int | None = None
    fallback: str = ""

    def __str__(self) -> str:
        threads = cpu.default_threads() if self.threads is None else self.threads
        on_cpu = f", threads={threads}" if self.backend.device == "cpu" else ""
        return f"precision={self.precision}, backend={self.backend}{on_cpu}"


def resolve_runtime(
    bundle: Bundle,
    *,
    precision: str | None,
    device: Device | None,
    engine: Engine | None,
    threads: int | None,
    allow_fallback: bool = False,
) -> Runtime:
    """Return the caller's settings, completed by defaults; if there are none, those of the tuning profile.

    With `allow_fallback`, a bundle without a graph for GPUs runs on the CPU where there is no usable GPU either.

    Raises:
        EngineError: unknown engine or device, the engine does not support the device, or the bundle holds nothing
            for them.
    """
    if precision is None and device is None and engine is None and threads is None:
        tuned = find_profile(bundle)
        if tuned is not None:
            return Runtime(tuned.precision, tuned.backend, tuned.threads, tuned.batch_tokens)
    device = "cpu" if device is None else device
    if device == "cpu" and precision is None and engine is None:
        choice = choose(bundle)
        return Runtime(choice.precision, choice.backend, threads)
    backend = Backend(usual_engine(precision, device) if engine is None else engine, device)
    if allow_fallback and device == "cuda" and precision is None:
        try:
            check_usable(backend)
        except (DeviceError, MissingExtraError) as error:
            return _on_cpu(bundle, backend, precision, threads, error)
    precision = bundle.best_precision(backend) if precision is None else precision
    return Runtime(precision, backend, threads, BATCH_TOKENS["cuda"] if device == "cuda" else None)


def _on_cpu(
    bundle: Bundle, backend: Backend, precision: str | None, threads: int | None, error: Exception
) -> Runtime:
    """Return what runs on the CPU instead of a GPU: the named precision if the bundle has it for the CPU."""
    if precision is not None and precision not in bundle.precisions(Backend(usual_engine(precision, "cpu"))):
        precision = None
    runtime = resolve_runtime(bundle, precision=precision, device="cpu", engine=None, threads=threads)
    fallback = f"{backend} cannot be used, {runtime.precision} on the CPU takes over: {error}"
    return replace(runtime, fallback=fallback)


def _open(bundle: Bundle, runtime: Runtime, min_f1: float | None) -> Session:
    """Open a session on the graph of a runtime; refuse one whose receipt does not show `min_f1` per cent."""
    graph = bundle.graph_for(runtime.precision, runtime.backend)
    if min_f1 is not None:
        bundle.require_f1(runtime.precision, min_f1)
    manifest = bundle.manifest
    session = open_session(
        bundle.source_of(graph),
        backend=runtime.backend,
        inputs=manifest.inputs,
        longest=manifest.max_positions,
        threads=runtime.threads,
        precision=runtime.precision,
        pad_id=manifest.pad_id,
    )
    if set(session.input_names) != set(manifest.inputs):
        raise EngineError(
            f"{graph.file.name} declares the inputs {', '.join(session.input_names)}, its bundle says "
            f"{', '.join(manifest.inputs)}",
            remedy="export it again",
        )
    return session


def load_runtime(
    bundle: Bundle,
    *,
    precision: str | None,
    device: Device | None,
    engine: Engine | None,
    threads: int | None,
    min_f1: float | None,
    allow_fallback: bool,
) -> tuple[Runtime, Session]:
    """Resolve a runtime and open a session on its graph; see `Reader.load`.

    With `allow_fallback` the CPU replaces an unusable GPU, with a warning.

    Raises:
        BundleError: the bundle does not hold the precision, or does not reach the F1.
        EngineError: see `resolve_runtime`; or the graph does not run on the backend.
        MissingExtraError: the engine is not installed.
    """
    runtime = resolve_runtime(
        bundle, precision=precision, device=device, engine=engine, threads=threads, allow_fallback=allow_fallback
    )
    if not runtime.fallback:
        try:
            return runtime, _open(bundle, runtime, min_f1)
        except (DeviceError, MissingExtraError) as error:
            if not (allow_fallback and runtime.backend.device == "cuda"):
                raise
            runtime = _on_cpu(bundle, runtime.backend, precision, threads, error)
    warnings.warn(runtime.fallback, RuntimeWarning, stacklevel=4)  # where Reader.load is called
    return runtime, _open(bundle, runtime, min_f1)
