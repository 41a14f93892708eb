"""The reader behind the endpoints: loads it, checks it, asks it and closes it."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import aclosing, suppress
from time import monotonic
from typing import TYPE_CHECKING

from qa_onnx import AsyncReader
from qa_onnx.errors import BundleError, DeadlineError, QueueFullError
from qa_onnx.evaluation import golden
from qa_onnx.serve import problems
from qa_onnx.serve.document_files import DocumentFiles
from qa_onnx.serve.logs import LOGGER
from qa_onnx.serve.side_threads import SideThreads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from qa_onnx import Example, Options, Prediction, Reader
    from qa_onnx.dynamic_batching.requests import OnProgress
    from qa_onnx.serve.metrics import Metrics
    from qa_onnx.serve.settings import Model, Settings
    from qa_onnx.spans import WindowLogits

_CLOSING_S = 5.0  # for a batch, or a tokenizer, that still works for a client that is gone
_DOCUMENTS_AT_ONCE = 2  # questions whose documents are searched at the same time
_RESULTS_AT_ONCE = 2  # that take long; those that wait are bounded with their bodies
_PAUSE_S = 0.02  # before a question of many tries a full queue again


class Service:
    """The model of one server process.

    Attributes:
        settings: the limits.
        model: what to load; after that, what was loaded.
        metrics: observes the work.
        files: takes the text out of documents.
        threads: searches documents, beside the event loop.
        results: makes results that take long, such as those with evidence, beside the event loop.
    """

    def __init__(self, settings: Settings, model: Model, metrics: Metrics) -> None:
        self.settings = settings
        self.model = model
        self.metrics = metrics
        self.files = DocumentFiles(settings)
        self.threads = SideThreads(
            "questions of documents", at_once=_DOCUMENTS_AT_ONCE, waiting=settings.max_queue
        )
        self.results = SideThreads("results", at_once=_RESULTS_AT_ONCE, waiting=math.inf)
        self._asking: AsyncReader | None = None
        self._golden = ""  # of the loaded graph; a bundle may be replaced while it is served

    def load(self) -> None:
        """Load the model, which takes a second or more, and compare its logits with those of the export.

        Raises:
            BundleError: the bundle is damaged, or its logits are different on this machine.
            EngineError: the engine does not run the graph.
        """
        reader = self.model.load()
        self.model = model = self.model.as_loaded(reader)
        self._golden = model.bundle.text(model.runtime.graph.golden)
        self._check_logits(reader)
        batch_tokens = self.settings.max_batch_tokens
        self._asking = AsyncReader(
            reader,
            max_batch_tokens=model.options.batch_tokens if batch_tokens is None else batch_tokens,
            max_wait_ms=self.settings.max_wait_ms,
            max_queue=self.settings.max_queue,
            observer=self.metrics,
        )
        self.metrics.model(model)
        LOGGER.info("ready", extra={"fields": {"bundle": str(model.bundle.path)}})

    @property
    def reader(self) -> AsyncReader:
        """The loaded reader.

        Raises:
            Problem: 503, the model is still being loaded.
        """
        if self._asking is None:
            raise problems.unavailable("starting")
        return self._asking

    def check_alive(self) -> None:
        """Refuse where only a new process helps.

        Raises:
            Problem: 503, the reader has closed by itself.
        """
        if self._asking is not None and self._asking.failed:
            raise problems.Problem(503, f"the server has failed: {self._asking.problem}; restart it")

    def check_ready(self) -> None:
        """Refuse while no question would be answered.

        Raises:
            Problem: 503, with the reason.
        """
        self.check_alive()
        if problem := self.reader.problem:
            raise problems.unavailable(f"not ready: {problem}")

    def check_logits(self) -> None:
        """Run the golden examples once more, beside the questions; it takes some windows' time.

        Raises:
            Problem: 503, the model is still being loaded.
            BundleError: the logits are not those of the export.
            EngineError: the model cannot be run.
        """
        self._check_logits(self.reader.reader)

    def _check_logits(self, reader: Reader) -> None:
        precision = self.model.runtime.precision
        check = golden.check(reader, self._golden, precision)
        if not check.passed:
            raise BundleError(
                f"{precision} of {self.model.bundle.path} gives other logits here than at export: they differ by "
                f"{check.max_abs:.2g}, and at most {check.tolerance:g} is allowed. qa-onnx inspect --verify has "
                "details; another --precision may work"
            )

    async def close(self) -> None:
        """Close the reader, after the last request."""
        self.files.close()
        if self._asking is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await self._asking.close(drain=False)
        left = [thread.name for thread in threading.enumerate() if thread.name.startswith("qa-onnx-")]
        if left and self.settings.owns_process:  # inside of a run or a tokenizer that does not end
            LOGGER.warning("ended while work that nobody waited for went on", extra={"fields": {"threads": left}})
            os._exit(0)  # a normal exit would wait for it, or crash

    def page(self) -> bytes:
        """Return the page of metrics."""
        if self._asking is not None:  # the threads of the reader may have reported out of order
            self.metrics.queue(self._asking.depth)
        return self.metrics.page()

    async def ask_each(
        self,
        examples: Iterable[Example],
        options: Options,
        deadline: float,
        *,
        patient: bool = False,
        on_progress: OnProgress | None = None,
    ) -> AsyncGenerator[Prediction | Exception, None]:
        """Ask the questions of a request, at most a quarter of the queue at a time.

        Only the first one needs room in the queue at once; the others wait for it.

        Args:
            examples: questions with their contexts.
            options: of the request.
            deadline: by `time.monotonic`.
            patient: the first one waits for room, too.
            on_progress: see `AsyncReader.submit`.

        Yields:
            The prediction or the error of each example, in their order, as soon as possible.

        Raises:
            Problem: the server is starting.
            QueueFullError: too many questions wait.
        """
        limit = max(1, self.settings.max_queue // 4)
        asked: deque[Future[Prediction]] = deque()
        try:
            for number, example in enumerate(examples):
                while (
                    len(asked) == limit
                    or (
                        future := self._submit(
                            example, options, deadline, patient=patient or number > 0, on_progress=on_progress
                        )
                    )
                    is None
                ):
                    if asked:
                        yield await self._outcome(asked.popleft())
                    else:
                        await asyncio.sleep(_PAUSE_S)
                asked.append(future)
            while asked:
                yield await self._outcome(asked.popleft())
        finally:
            for future in asked:
                future.cancel()

    async def ask_parts(
        self,
        examples: Iterable[Example],
        options: Options,
        deadline: float,
        *,
        patient: bool = False,
        on_progress: OnProgress | None = None,
    ) -> list[Prediction]:
        """Return the predictions of parts of one question; see `ask_each`.

        Raises:
            Exception: the error of the first one that fails, or as `ask_each`.
        """
        predictions = []
        parts = self.ask_each(examples, options, deadline, patient=patient, on_progress=on_progress)
        async with aclosing(parts):
            async for outcome in parts:
                if isinstance(outcome, Exception):
                    raise outcome
                predictions.append(outcome)
        return predictions

    def _submit(
        self,
        example: Example,
        options: Options,
        deadline: float,
        *,
        patient: bool,
        on_progress: OnProgress | None,
    ) -> Future[Prediction] | None:
        """Hand over a question; None: the queue is full, which is an error unless `patient`."""
        left = deadline - monotonic()
        if left <= 0:
            late: Future[Prediction] = Future()
            late.set_exception(DeadlineError("no time is left for this question"))
            return late
        try:
            return self.reader.submit(example, options=options, timeout_s=left, on_progress=on_progress)
        except QueueFullError:
            if not patient:
                raise
            return None

    async def _outcome(self, future: Future[Prediction]) -> Prediction | Exception:
        try:
            return await asyncio.wrap_future(future)
        except Exception as error:  # noqa: BLE001 - it is the outcome
            return error

    async def logits(self, example: Example, deadline: float) -> list[WindowLogits]:
        """Compute the windows of an example, in the order of the text, with their logits.

        Raises:
            Problem: the server is starting.
            QueueFullError: too many questions wait.
            DeadlineError: the deadline has passed.
        """
        return await self.reader.logits(
            example, options=self.model.options, timeout_s=max(0.0, deadline - monotonic())
        )
