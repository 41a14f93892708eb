"""Arrays -> logits in ONNX Runtime on the CPU. Left out: CUDA and TensorRT (onnx_gpu.py)."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from qa_onnx.engines.engine_session import CpuSession
from qa_onnx.engines.names import check_threads
from qa_onnx.engines.onnx_runtime import import_onnxruntime, input_names, session_options
from qa_onnx.errors import EngineError
from qa_onnx.machine import cpu
from qa_onnx.session import OUTPUTS, RUN_OVERHEAD

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.engines.graph_source import GraphSource
    from qa_onnx.session import Stop

# From this release on, ONNX Runtime's SkipLayerNormalization takes three times as long on a CPU as the sum and the
# norm that it replaces (0.92 and 0.28 ms for 704 x 384 values, two cores with AVX2). In earlier releases it took
# 0.23 ms, and they 0.36 to 1.06.
_SLOW_SKIP_NORM = (1, 30)
_DISABLED = "optimization.disable_specified_optimizers"
_EXACT = "session.x64quantprecision"
_SHARED_WEIGHTS = "Attempt to replace the existing tensor"


class OnnxSession(CpuSession):
    """An ONNX file in ONNX Runtime, on the CPU. It works in forked processes, and pickles by its arguments.

    Args:
        graph: the file's path, or where else to get its bytes. No byte reaches ONNX Runtime before the file was
            checked, see `graph_rules.check_graph`.
        threads: of one run; None: `cpu.default_threads()`.

    Raises:
        MissingExtraError: no ONNX Runtime is installed.
        EngineError: two of them are installed, or the file is no QA graph, or none that may run.
    """

    run_overhead = RUN_OVERHEAD["cpu"]
    lane_tokens = 256

    def __init__(self, graph: Path | GraphSource, *, threads: int | None = None) -> None:
        check_threads(threads)
        self._threads = threads
        super().__init__(graph)

    def _open(self) -> tuple[Any, tuple[str, ...]]:
        onnxruntime = import_onnxruntime()
        self._run_options = onnxruntime.RunOptions
        with self._graph.open() as model:
            self._note_size(model)
            try:
                session = _load(onnxruntime, model, cpu_options(onnxruntime, self._threads))
            except Exception as error:  # onnxruntime's exceptions have no other common base
                raise EngineError(
                    f"ONNX Runtime {onnxruntime.__version__} cannot load {self._graph.name}: {error}"
                ) from error
        return session, input_names(session)

    def _compute(self, model: Any, request: None, inputs: dict[str, NDArray[np.int64]], stop: Stop) -> Any:
        options = self._run_options()
        with stop.ends(lambda: setattr(options, "terminate", True)):
            return model.run(OUTPUTS, inputs, options)

    def for_lanes(self, lanes: int) -> OnnxSession:
        """See `CpuSession.for_lanes`."""
        # With one thread ONNX Runtime runs a batch in the thread that calls: as many at once as there are callers.
        return OnnxSession(self._graph, threads=1)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(OnnxSession, self._graph, threads=self._threads), ()


def _load(onnxruntime: Any, model: bytes | Path, options: Any) -> Any:
    """Open an InferenceSession, with exact integer products if the graph allows them."""
    if not cpu.has_exact_int8():
        # Without VNNI, sums of byte products saturate at 16 bits. Weights of 7 bits, as our exports have them, are
        # small enough; for others this trades speed for the right result.
        options.add_session_config_entry(_EXACT, "1")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if cpu.has_exact_int8() or _SHARED_WEIGHTS not in str(error):
            raise
    # ONNX Runtime cannot rewrite a weight of 8 bits that several nodes read. Such a graph, of another exporter,
    # runs unchanged.
    options.add_session_config_entry(_EXACT, "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def cpu_options(onnxruntime: Any, threads: int | None) -> Any:
    """Return the options of an InferenceSession on the CPU."""
    options = session_options(onnxruntime, threads)
    release = re.match(r"(\d+)\.(\d+)", onnxruntime.__version__)
    if release and tuple(map(int, release.groups())) >= _SLOW_SKIP_NORM:
        options.add_session_config_entry(_DISABLED, "SkipLayerNormFusion")
    return options
