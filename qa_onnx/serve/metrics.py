"""Prometheus metrics: of requests, and of the batches behind them.

With several workers each writes its numbers to files in the folder that PROMETHEUS_MULTIPROC_DIR names (the
supervisor makes it), and whichever worker is asked gives the sum of all.
"""

from __future__ import annotations

import os
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
from prometheus_client.multiprocess import MultiProcessCollector

from qa_onnx import __version__

if TYPE_CHECKING:
    from qa_onnx.serve.settings import Model

MEDIA_TYPE = CONTENT_TYPE_LATEST
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)


class Metrics:
    """What the server counts. It is the observer of its AsyncReader, so threads call it too."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._several = FOLDER in os.environ
        if not self._several:
            ProcessCollector(registry=registry)
        self._requests = Counter(
            "qa_onnx_requests", "Requests by endpoint and status code.", ["endpoint", "code"], registry=registry
        )
        self._request_seconds = Histogram(
            "qa_onnx_request_seconds",
            "From a request's head to the last byte of its answer.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "qa_onnx_stage_seconds",
            "read: a request's body; wait: of a question for its first run; cut: texts to windows; run: a batch; "
            "search: its answers.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "qa_onnx_errors", "Requests and stream lines that failed, by error.", ["error"], registry=registry
        )
        self._questions = Counter("qa_onnx_questions", "Questions answered.", registry=registry)
        self._queue = Gauge(
            "qa_onnx_queue_depth",
            "Questions that wait or run.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._windows = Histogram(
            "qa_onnx_batch_windows", "Windows of a batch.", buckets=_WINDOWS, registry=registry
        )
        self._tokens = Histogram(
            "qa_onnx_batch_tokens", "Tokens of a batch, padding included.", buckets=_TOKENS, registry=registry
        )
        self._info = Gauge(
            "qa_onnx_bundle_info",
            "1, with the bundle in use and where it really runs.",
            ["bundle", "precision", "engine", "device", "version"],
            registry=registry,
            multiprocess_mode="max",
        )

    def model(self, model: Model) -> None:
        """The model is loaded and runs where it says."""
        name = model.bundle.manifest.source.name
        self._info.labels(name, model.precision, model.backend.engine, model.backend.device, __version__).set(1)

    def request(self, endpoint: str, code: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(endpoint, str(code)).inc()
        self._request_seconds.labels(endpoint).observe(seconds)

    def error(self, error: BaseException) -> None:
        """A request, or a line of a stream, failed."""
        self._errors.labels(type(error).__name__).inc()

    def answered(self) -> None:
        """A question was answered."""
        self._questions.inc()

    def queue(self, requests: int) -> None:
        """So many questions wait or run."""
        self._queue.set(requests)

    def batch(self, windows: int, tokens: int) -> None:
        """A batch runs."""
        self._windows.observe(windows)
        self._tokens.observe(tokens)

    def stage(self, name: str, seconds: float) -> None:
        """A stage took so long."""
        self._stage_seconds.labels(name).observe(seconds)

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        registry: Any = self._registry
        if self._several:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        text: bytes = generate_latest(registry)
        return text
