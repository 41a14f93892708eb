"""A bundle and the caller's settings -> the runtime: graph, backend, threads; and an open session for it.

1. If the caller names no precision, device, engine and threads: the result of `qa-onnx tune`, if there is one.
2. Device: the named one, else the CPU. No GPU is looked for, but a profile may name one.
3. If the caller names neither precision nor engine, on the CPU: what choice.py expects to be the fastest.
4. Engine: the named one, else ONNX Runtime; OpenVINO for the precisions with bf16.
5. Precision: the named one, else the backend's best that the bundle holds and this CPU computes.
6. With `allow_fallback`, the CPU replaces a GPU that cannot be used; only here, before anything is answered. The
   named precision stays if the bundle has it for the CPU; else it is what step 3 chooses.

A runtime is chosen once: readers, servers and map jobs hand on the finished one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.choice import choose
from qa_onnx.bundle.tuned import find_profile
from qa_onnx.engines.names import Backend, check_precision, usual_engine
from qa_onnx.engines.sessions import check_usable, open_session
from qa_onnx.errors import DeviceError, EngineError, MissingExtraError, warn_caller
from qa_onnx.machine import cpu
from qa_onnx.options import BATCH_TOKENS, Options
from qa_onnx.windows import Windower

if TYPE_CHECKING:
    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.bundle.manifest import Graph
    from qa_onnx.engines.names import Device, Engine
    from qa_onnx.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The settings that a bundle runs with.

    Attributes:
        precision: one of the bundle's, or fp16 that TensorRT makes of fp32.
        backend: runs the graph.
        graph: that the backend reads to compute the precision.
        threads: of one run on the CPU, or of as many runs of a call side by side; None: `cpu.default_threads()`.
        batch_tokens: from the tuning profile, or the default of a GPU; None: the default of a CPU.
        named: the precision that the caller named, which stays where the CPU replaces a GPU; None: none.
        allow_fallback: whether the CPU may replace a GPU that cannot be used.
    """

    precision: str
    backend: Backend
    graph: Graph
    threads: int | None
    batch_tokens: int | None
    named: str | None
    allow_fallback: bool

    def __str__(self) -> str:
        threads = cpu.default_threads() if self.threads is None else self.threads
        on_cpu = f", threads={threads}" if self.backend.device == "cpu" else ""
        return f"precision={self.precision}, backend={self.backend}{on_cpu}"


def resolve_runtime(
    bundle: Bundle,
    *,
    precision: str | None = None,
    device: Device | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
    allow_fallback: bool = False,
) -> Runtime:
    """Return the caller's settings, completed by defaults; if there are none, those of the tuning profile.

    With `allow_fallback`, a bundle without a graph for GPUs runs on the CPU where there is no usable GPU either,
    with a RuntimeWarning.

    Raises:
        BundleError: the bundle does not hold the precision.
        EngineError: unknown engine or device, the engine does not support the device, the bundle holds nothing for
            them, or this CPU cannot compute in the precision.
    """
    named, batch_tokens = precision, None
    nothing = all(setting is None for setting in (precision, device, engine, threads))
    tuned = find_profile(bundle) if nothing else None
    device = "cpu" if device is None else device
    if tuned is not None:
        precision, backend = tuned.precision, tuned.backend
        threads, batch_tokens = tuned.threads, tuned.batch_tokens
    elif device == "cpu" and precision is None and engine is None:
        choice = choose(bundle)
        precision, backend = choice.precision, choice.backend
    else:
        backend = Backend(usual_engine(precision, device) if engine is None else engine, device)
        if allow_fallback and device == "cuda" and precision is None:
            try:
                check_usable(backend)
            except (DeviceError, MissingExtraError) as error:
                return _on_cpu(bundle, backend, named, threads, error)
        precision = bundle.best_precision(backend) if precision is None else precision
        batch_tokens = BATCH_TOKENS["cuda"] if device == "cuda" else None
    graph = bundle.graph_for(precision, backend)
    check_precision(precision)
    return Runtime(
        precision=precision,
        backend=backend,
        graph=graph,
        threads=threads,
        batch_tokens=batch_tokens,
        named=named,
        allow_fallback=allow_fallback,
    )


def _on_cpu(bundle: Bundle, backend: Backend, named: str | None, threads: int | None, error: Exception) -> Runtime:
    """Return what runs on the CPU instead of a GPU, with a warning: the named precision if it runs there."""
    if named is not None and named not in bundle.precisions(Backend(usual_engine(named, "cpu"))):
        named = None
    runtime = resolve_runtime(bundle, precision=named, device="cpu", threads=threads)
    warn_caller(f"{backend} cannot be used, {runtime.precision} on the CPU takes over: {error}", RuntimeWarning)
    return runtime


def open_parts(
    bundle: Bundle, runtime: Runtime, *, options: Options | None = None, min_f1: float | None = None
) -> tuple[Runtime, dict[str, Any]]:
    """Open the graph of a runtime, and meanwhile the bundle's tokenizer.

    Args:
        bundle: that the runtime was resolved for.
        runtime: a finished one.
        options: of the reader; None: the defaults, with the bundle's windows and the device's batches.
        min_f1: refuse a graph whose receipt does not show so much F1, in per cent; None: any will do.

    Returns:
        What runs: the runtime, or its replacement on the CPU; and the arguments of the reader's constructor.

    Raises:
        BundleError: the bundle is damaged, or does not reach the F1.
        EngineError: the graph does not run on the backend; a DeviceError where the device cannot be used.
        MissingExtraError: the engine is not installed.
    """
    manifest = bundle.manifest
    with ThreadPoolExecutor(1) as beside:  # opening a graph leaves the GIL free
        windower = beside.submit(lambda: Windower(bundle.text(manifest.tokenizer), cls_id=manifest.cls_id))
        try:
            session = _open(bundle, runtime, min_f1)
        except (DeviceError, MissingExtraError) as error:
            if not runtime.allow_fallback or runtime.backend.device != "cuda":
                raise
            runtime = _on_cpu(bundle, runtime.backend, runtime.named, runtime.threads, error)
            session = _open(bundle, runtime, min_f1)
    return runtime, {
        "session": session,
        "windower": windower.result(),
        "pad_id": manifest.pad_id,
        "options": options or Options.for_windows_of(manifest.max_length, batch_tokens=runtime.batch_tokens),
        "max_positions": manifest.max_positions,
        "null_threshold": manifest.null_threshold,
        "temperature": manifest.temperature,
    }


def _open(bundle: Bundle, runtime: Runtime, min_f1: float | None) -> Session:
    """Open a session on the graph of a runtime; refuse one whose receipt does not show `min_f1` per cent."""
    if min_f1 is not None:
        bundle.require_f1(runtime.precision, min_f1)
    manifest = bundle.manifest
    session = open_session(
        bundle.source_of(runtime.graph),
        backend=runtime.backend,
        inputs=manifest.inputs,
        longest=manifest.max_positions,
        threads=runtime.threads,
        precision=runtime.precision,
        pad_id=manifest.pad_id,
    )
    if set(session.input_names) != set(manifest.inputs):
        raise EngineError(
            f"{runtime.graph.file.name} declares the inputs {', '.join(session.input_names)}, its bundle says "
            f"{', '.join(manifest.inputs)}",
            remedy="export it again",
        )
    return session
