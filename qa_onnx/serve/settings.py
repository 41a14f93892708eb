"""Settings of a server: its limits, and the model that it serves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx import Reader
from qa_onnx.options import check_bounds

if TYPE_CHECKING:
    from qa_onnx import Bundle, Options
    from qa_onnx.engines.names import Backend

MAX_EXAMPLES = 1000  # of a request
MAX_ANSWERS = 10_000  # examples of a request times n_best
MAX_N_BEST = 100
MAX_SCORE_CHARACTERS = 50_000  # of a context in a request for token scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits of a server process.

    Attributes:
        max_batch_tokens: tokens of one run of the graph, with padding; None: the reader's `batch_tokens`.
        max_wait_ms: milliseconds that a question may wait for others to share its run.
        max_queue: questions that may wait or run; one more is refused with 429.
        max_request_bytes: bytes of a request's body; a larger one is refused with 413.
        timeout_s: seconds from the arrival of a request to its answer; then 504.
        read_timeout_s: seconds in which a client must send a body, and read each part of an answer.
        keys: SHA-256 of each API key, from `keys.read_keys`; empty: no key is needed.

    Raises:
        InputError: a limit is out of range.
    """

    max_batch_tokens: int | None = None
    max_wait_ms: float = 0.0
    max_queue: int = 64
    max_request_bytes: int = 1 << 20
    timeout_s: float = 30.0
    read_timeout_s: float = 10.0
    keys: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.max_batch_tokens is not None:
            check_bounds("max_batch_tokens", self.max_batch_tokens)
        for name in ("max_wait_ms", "max_queue", "max_request_bytes", "timeout_s", "read_timeout_s"):
            check_bounds(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model that a server loads.

    Attributes:
        bundle: its folder.
        precision: of its graph.
        backend: that runs the graph.
        threads: of one run on the CPU.
        allow_fallback: use the CPU if the GPU cannot be used.
        options: defaults of the requests.
    """

    bundle: Bundle
    precision: str
    backend: Backend
    threads: int
    allow_fallback: bool
    options: Options

    def load(self) -> Reader:
        """Load the reader, which takes a second or more.

        Raises:
            QaOnnxError: the bundle is damaged, the backend cannot be used, or the options do not fit the model.
        """
        reader = Reader.load(
            self.bundle.path,
            precision=self.precision,
            device=self.backend.device,
            engine=self.backend.engine,
            threads=self.threads,
            allow_fallback=self.allow_fallback,
        )
        reader.resolve(self.options)
        return reader

    def as_loaded(self, reader: Reader) -> Model:
        """Return what a reader really runs, which is different if it fell back to the CPU."""
        if reader.backend is None or reader.precision is None:
            return self
        options = self.options
        if reader.backend.device != self.backend.device:  # a CPU wants smaller batches than a GPU
            options = dataclasses.replace(options, batch_tokens=reader.options.batch_tokens)
        return dataclasses.replace(self, precision=reader.precision, backend=reader.backend, options=options)

    @property
    def max_doc_stride(self) -> int:
        """The largest overlap of a request: a larger one would multiply the windows."""
        return max(self.options.doc_stride, self.options.max_length // 2)
