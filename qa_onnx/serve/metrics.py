"""Prometheus metrics of requests and of the batches behind them.

With several workers each writes its numbers to files in the folder that PROMETHEUS_MULTIPROC_DIR names (server.py
makes it), and the worker that is scraped returns the sums over all.
"""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from qa_onnx import __version__

if TYPE_CHECKING:
    from qa_onnx.serve.settings import Model

MEDIA_TYPE = CONTENT_TYPE_LATEST
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)
_STAGES = (
    "read: the body of a request; wait: a question, until its first run; cut: texts into windows; run: a batch; "
    "search: its answers."
)


class Metrics:
    """Metrics of a server process, and the `Observer` of its AsyncReader, whose threads call it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._folder = os.environ.get(FOLDER)
        if self._folder is None:
            ProcessCollector(registry=self._registry)
        counter = partial(Counter, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry)
        seconds = partial(Histogram, registry=self._registry, buckets=_SECONDS)
        sizes = partial(Histogram, registry=self._registry)
        requests = counter("qa_onnx_requests", "Requests by endpoint and status.", ["endpoint", "code"])
        request_seconds = seconds("qa_onnx_request_seconds", "From head to last byte.", ["endpoint"])
        self._requests, self._request_seconds = cache(requests.labels), cache(request_seconds.labels)
        self._errors = counter("qa_onnx_errors", "Requests and stream lines that failed.", ["error"])
        self.questions = counter("qa_onnx_questions", "Questions answered.")
        self._stage_seconds = cache(seconds("qa_onnx_stage_seconds", _STAGES, ["stage"]).labels)
        self._queue = gauge("qa_onnx_queue_depth", "Questions that wait or run.", multiprocess_mode="livesum")
        self._windows = sizes("qa_onnx_batch_windows", "Windows of a batch.", buckets=_WINDOWS)
        self._tokens = sizes("qa_onnx_batch_tokens", "Tokens of a batch, with padding.", buckets=_TOKENS)
        labels = ["bundle", "precision", "engine", "device", "version"]
        self._bundle = gauge("qa_onnx_bundle_info", "1, for the bundle in use.", labels, multiprocess_mode="max")

    def model(self, model: Model) -> None:
        """Record the model that was loaded."""
        name, backend = model.bundle.manifest.source.name, model.runtime.backend
        self._bundle.labels(name, model.runtime.precision, backend.engine, backend.device, __version__).set(1)

    def request(self, endpoint: str, code: int, seconds: float) -> None:
        """Count a request, with the status and duration of its response."""
        self._requests(endpoint, code).inc()
        self._request_seconds(endpoint).observe(seconds)

    def error(self, name: str) -> None:
        """Count a request or a line of a stream that failed, by the class of its error."""
        self._errors.labels(name).inc()

    def queue(self, requests: int) -> None:
        """Record how many questions wait or run."""
        self._queue.set(requests)

    def batch(self, windows: int, tokens: int) -> None:
        """Record the size of a batch."""
        self._windows.observe(windows)
        self._tokens.observe(tokens)

    def stage(self, name: str, seconds: float) -> None:
        """Record how long a stage took."""
        self._stage_seconds(name).observe(seconds)

    def page(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        registry: Any = self._registry
        if self._folder is not None:
            _forget_dead(Path(self._folder))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        text: bytes = generate_latest(registry)
        return text


def _forget_dead(folder: Path) -> None:
    """Remove the queues of workers that died; their counters stay in the sums."""
    for path in folder.glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)  # only asks whether the process exists
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
