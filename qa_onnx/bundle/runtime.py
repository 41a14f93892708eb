"""A bundle and what was asked of it -> the graph that runs, opened, in the place where it runs.

Where a GPU was asked for that cannot be used, and that is allowed, the CPU takes over, with a warning.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.bundle.tuned import find_profile
from qa_onnx.engines.sessions import check_place, check_usable, open_session, usual_engine
from qa_onnx.errors import DeviceError, EngineError, MissingExtraError
from qa_onnx.options import BATCH_TOKENS

if TYPE_CHECKING:
    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.bundle.manifest import Graph
    from qa_onnx.engines.sessions import Engine
    from qa_onnx.session import Device, Session

_CPU = "onnxruntime/cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to run a bundle with; see `Reader.load`. The token budget is a profile's or a GPU's, else None."""

    precision: str | None
    device: Device
    engine: Engine
    threads: int | None
    min_f1: float | None
    batch_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A graph that is ready to run.

    Attributes:
        session: runs it.
        precision: of the bundle.
        place: "engine/device".
        batch_tokens: that suit it; None: the default.
    """

    session: Session
    precision: str
    place: str
    batch_tokens: int | None


def make_wish(
    bundle: Bundle,
    *,
    precision: str | None,
    device: Device | None,
    engine: Engine | None,
    threads: int | None,
    min_f1: float | None = None,
) -> Wish:
    """What was asked for; where nothing was, what `qa-onnx tune` found, and else the defaults."""
    if precision is None and device is None and engine is None and threads is None:
        tuned = find_profile(bundle)
        if tuned is not None:
            return Wish(
                precision=tuned.precision,
                device=tuned.device,
                engine=tuned.engine,
                threads=tuned.threads,
                min_f1=min_f1,
                batch_tokens=tuned.batch_tokens,
            )
    device = "cpu" if device is None else device
    return Wish(
        precision=precision,
        device=device,
        engine=usual_engine(precision, device) if engine is None else engine,
        threads=threads,
        min_f1=min_f1,
        batch_tokens=BATCH_TOKENS["cuda"] if device == "cuda" else None,
    )


def open_graph(bundle: Bundle, wish: Wish, *, allow_fallback: bool) -> Opened:
    """Open the graph of a bundle that was asked for.

    Args:
        bundle: a whole one.
        wish: what was asked for.
        allow_fallback: let the CPU take over for a GPU that cannot be used, with the bundle's best precision.

    Raises:
        BundleError: the bundle does not hold the precision, or does not reach the F1.
        EngineError: nothing in the bundle runs there, or it does not start.
        MissingExtraError: the engine is not installed.
    """
    if wish.device == "cpu" or not allow_fallback:
        return _open(bundle, wish)
    try:
        if wish.precision is None:  # else a bundle without a graph for GPUs would not load where there is none
            check_usable(check_place(wish.engine, wish.device))
        return _open(bundle, wish)
    except (DeviceError, MissingExtraError) as error:
        precision = bundle.best_precision("onnxruntime", "cpu")
        message = f"{wish.engine}/{wish.device} cannot be used, {precision} on the CPU takes over: {error}"
        warnings.warn(message, RuntimeWarning, stacklevel=3)  # where Reader.load is called
    return _open(
        bundle,
        Wish(precision=precision, device="cpu", engine="onnxruntime", threads=wish.threads, min_f1=wish.min_f1),
    )


def _open(bundle: Bundle, wish: Wish) -> Opened:
    place = check_place(wish.engine, wish.device)
    precision = bundle.best_precision(wish.engine, wish.device) if wish.precision is None else wish.precision
    graph = _graph(bundle, precision, place)
    if wish.min_f1 is not None:
        bundle.require_f1(precision, wish.min_f1)
    manifest = bundle.manifest
    session = open_session(
        bundle.checked_path(graph.file),
        engine=wish.engine,
        device=wish.device,
        threads=wish.threads,
        precision=precision,
        inputs=manifest.inputs,
        longest=manifest.max_positions,
        pad_id=manifest.pad_id,
    )
    if set(session.input_names) != set(manifest.inputs):
        raise EngineError(
            f"{graph.file.name} declares {', '.join(session.input_names)}, its bundle says "
            f"{', '.join(manifest.inputs)}: export it again"
        )
    return Opened(session=session, precision=precision, place=place, batch_tokens=wish.batch_tokens)


def _graph(bundle: Bundle, precision: str, place: str) -> Graph:
    """The graph that computes a precision in a place.

    TensorRT makes fp16 of the fp32 graph by itself, where the bundle has no fp16 graph for it.
    """
    graphs = bundle.manifest.graphs
    made = graphs.get("fp32")
    own = graphs.get(precision)
    if precision == "fp16" and place == "tensorrt/cuda" and made and place in made.engines:
        return own if own and place in own.engines else made
    graph = bundle.graph(precision)
    if place in graph.engines:
        return graph
    raise EngineError(
        f"{precision} of {bundle.path} runs on {', '.join(graph.engines)}, not on {place}: choose another "
        f"precision, engine or device; {_remedy(bundle, graph, precision, place)}"
    )


def _remedy(bundle: Bundle, graph: Graph, precision: str, place: str) -> str:
    """What would run in a place, where a precision does not."""
    if place == "tensorrt/cuda" and graph.kind == "fused":
        return (
            f"{', '.join(graph.fused_nodes)} are ONNX Runtime's own operators, which TensorRT does not know: "
            f"{bundle.how_to_add('--no-fusion --precision fp32', beside=True)}"
        )
    if place == "tensorrt/cuda" and precision == "int8-static":
        return "its activations have a zero point, and TensorRT multiplies symmetric int8 alone: use fp32 or fp16"
    engine, device = place.split("/")
    try:
        return f"of this bundle {bundle.best_precision(engine, device)} does"
    except EngineError as error:
        return str(error).rpartition(": ")[2]
