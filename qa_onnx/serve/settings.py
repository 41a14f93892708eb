"""What a server is told: its limits, and the model that it serves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.options import check_bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx import Bundle, Options, Reader
    from qa_onnx.engines.names import Backend

MAX_EXAMPLES = 1000  # of a request
MAX_ANSWERS = 10_000  # examples of a request times n_best
MAX_N_BEST = 100
MAX_SCORE_CHARACTERS = 50_000  # of a context whose token scores are asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The limits of a server process.

    Attributes:
        max_batch_tokens: tokens of one run of the graph, padding included; None: the reader's `batch_tokens`.
        max_wait_ms: how long a question may wait for others to share its run.
        max_queue: questions that may wait; one more is refused with 429.
        max_request_bytes: of a request's body; a larger one is refused with 413.
        timeout_s: from the arrival of a request to the last byte of its answer; after it 504.
        read_timeout_s: for a client to send the head of a request, then its body, and to take what it is sent.
        keys: SHA-256 of each API key, as `keys.read` gives them; empty: none is asked for.

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
    """What is served.

    Attributes:
        bundle: where it comes from.
        precision: of its graph.
        backend: that runs it; a reader that cannot run there does not load.
        threads: of one run on the CPU.
        options: of questions that bring none.
        load: makes the reader; takes a second or more, so it is called in a thread.
    """

    bundle: Bundle
    precision: str
    backend: Backend
    threads: int
    options: Options
    load: Callable[[], Reader]

    def as_loaded(self, reader: Reader) -> Model:
        """What is really served, where the reader could fall back to the CPU."""
        if reader.backend is None or reader.precision is None:
            return self
        options = self.options
        if reader.backend.device != self.backend.device:  # batches for a GPU are none for a CPU
            options = dataclasses.replace(options, batch_tokens=reader.options.batch_tokens)
        return dataclasses.replace(self, precision=reader.precision, backend=reader.backend, options=options)

    @property
    def max_length(self) -> int:
        """Tokens a window."""
        return self.options.max_length

    @property
    def max_doc_stride(self) -> int:
        """The largest overlap that a request may ask for: a larger one multiplies the windows."""
        return max(self.options.doc_stride, self.options.max_length // 2)
