"""A bundle and what the user asks for -> the runtime: which graph runs, on which backend; and its open session.

With `allow_fallback`, the CPU replaces a GPU that cannot be used, with a warning.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.bundle.tuned import find_profile
from qa_onnx.engines.names import Backend, usual_engine
from qa_onnx.engines.sessions import check_usable, open_session
from qa_onnx.errors import DeviceError, EngineError, MissingExtraError
from qa_onnx.options import BATCH_TOKENS

if TYPE_CHECKING:
    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.bundle.manifest import Graph
    from qa_onnx.engines.names import Device, Engine
    from qa_onnx.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a bundle runs with.

    Attributes:
        precision: of the bundle.
        backend: that runs it.
        threads: of one run on the CPU; None: `cpu.default_threads()`.
        batch_tokens: from a tuning profile, or a GPU's; None: the default.
    """

    precision: str
    backend: Backend
    threads: int | None
    batch_tokens: int | None = None


def resolve_runtime(
    bundle: Bundle,
    *,
    precision: str | None,
    device: Device | None,
    engine: Engine | None,
    threads: int | None,
) -> Runtime:
    """Return what the user asks for; if that is nothing, what `qa-onnx tune` found, and else the defaults.

    Raises:
        EngineError: unknown engine or device, the engine does not support the device, or the bundle holds nothing
            for them.
    """
    if precision is None and device is None and engine is None and threads is None:
        tuned = find_profile(bundle)
        if tuned is not None:
            return Runtime(
                precision=tuned.precision,
                backend=tuned.backend,
                threads=tuned.threads,
                batch_tokens=tuned.batch_tokens,
            )
    device = "cpu" if device is None else device
    backend = Backend(usual_engine(precision, device) if engine is None else engine, device)
    return Runtime(
        precision=bundle.best_precision(backend) if precision is None else precision,
        backend=backend,
        threads=threads,
        batch_tokens=BATCH_TOKENS["cuda"] if device == "cuda" else None,
    )


def open_runtime(bundle: Bundle, runtime: Runtime, *, min_f1: float | None = None) -> Session:
    """Open the graph of a runtime.

    Args:
        bundle: a whole one.
        runtime: as `resolve_runtime` gives it.
        min_f1: refuse a graph whose receipt does not show at least this F1, in per cent.

    Raises:
        BundleError: the bundle does not hold the precision, or does not reach the F1.
        EngineError: the graph does not run on the backend.
        MissingExtraError: the engine is not installed.
    """
    graph = _graph(bundle, runtime.precision, runtime.backend)
    if min_f1 is not None:
        bundle.require_f1(runtime.precision, min_f1)
    manifest = bundle.manifest
    session = open_session(
        bundle.checked_path(graph.file),
        backend=runtime.backend,
        threads=runtime.threads,
        precision=runtime.precision,
        inputs=manifest.inputs,
        longest=manifest.max_positions,
        pad_id=manifest.pad_id,
    )
    if set(session.input_names) != set(manifest.inputs):
        raise EngineError(
            f"{graph.file.name} declares {', '.join(session.input_names)}, its bundle says "
            f"{', '.join(manifest.inputs)}: export it again"
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
    """Resolve and open a runtime; with `allow_fallback` the CPU replaces a GPU that cannot be used.

    Raises:
        BundleError: see `open_runtime`.
        EngineError: see `resolve_runtime` and `open_runtime`.
        MissingExtraError: the engine is not installed.
    """
    gpu = device == "cuda" and allow_fallback
    try:
        if gpu and precision is None:  # else a bundle without a graph for GPUs would not load where there is none
            check_usable(Backend("onnxruntime" if engine is None else engine, "cuda"))
        runtime = resolve_runtime(bundle, precision=precision, device=device, engine=engine, threads=threads)
        return runtime, open_runtime(bundle, runtime, min_f1=min_f1)
    except (DeviceError, MissingExtraError) as error:
        if not gpu:
            raise
        cpu = Backend("onnxruntime", "cpu")
        runtime = Runtime(precision=bundle.best_precision(cpu), backend=cpu, threads=threads)
        name = f"{'onnxruntime' if engine is None else engine}/cuda"
        message = f"{name} cannot be used, {runtime.precision} on the CPU takes over: {error}"
        warnings.warn(message, RuntimeWarning, stacklevel=3)  # where Reader.load is called
    return runtime, open_runtime(bundle, runtime, min_f1=min_f1)


def _graph(bundle: Bundle, precision: str, backend: Backend) -> Graph:
    """The graph that computes a precision on a backend.

    TensorRT makes fp16 of the fp32 graph by itself, where the bundle has no fp16 graph for it.
    """
    graphs = bundle.manifest.graphs
    made = graphs.get("fp32")
    own = graphs.get(precision)
    if precision == "fp16" and backend.engine == "tensorrt" and made and str(backend) in made.engines:
        return own if own and str(backend) in own.engines else made
    graph = bundle.graph(precision)
    if str(backend) in graph.engines:
        return graph
    raise EngineError(
        f"{precision} of {bundle.path} runs on {', '.join(graph.engines)}, not on {backend}: choose another "
        f"precision, engine or device; {_remedy(bundle, graph, precision, backend)}"
    )


def _remedy(bundle: Bundle, graph: Graph, precision: str, backend: Backend) -> str:
    """What would run on a backend, where a precision does not."""
    if backend.engine == "tensorrt" and graph.kind == "fused":
        return (
            f"{', '.join(graph.fused_nodes)} are ONNX Runtime's own operators, which TensorRT does not know: "
            f"{bundle.how_to_add('--no-fusion --precision fp32', beside=True)}"
        )
    if backend.engine == "tensorrt" and precision == "int8-static":
        return "its activations have a zero point, and TensorRT multiplies symmetric int8 alone: use fp32 or fp16"
    try:
        return f"of this bundle {bundle.best_precision(backend)} does"
    except EngineError as error:
        return error.remedy
