"""Starting, ready, stopping: the reader behind the endpoints."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from qa_onnx import AsyncReader
from qa_onnx.errors import BundleError, DeadlineError, QueueFullError
from qa_onnx.evaluation import golden
from qa_onnx.serve import problems
from qa_onnx.serve.logs import LOGGER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from qa_onnx import Example, Options, Prediction, Reader
    from qa_onnx.serve.metrics import Metrics
    from qa_onnx.serve.settings import Model, Settings
    from qa_onnx.spans import WindowLogits

_MOST_SCORES = 8  # requests for token scores that may wait
_CLOSING_S = 5.0  # for a run that nobody waits for
_PAUSE_S = 0.02  # before a question of many tries a full queue again


class Service:
    """One process' model, from its loading to its end.

    Attributes:
        settings: the limits.
        model: what to load.
        metrics: observe the work.
        under_way: requests that have not been answered to their end.
        stopping: nothing more is accepted.
        failure: why the model could not be loaded.
        stuck: the reader works on something that nobody waits for any more, such as cutting a very long text.
    """

    def __init__(self, settings: Settings, model: Model, metrics: Metrics) -> None:
        self.settings = settings
        self.model = model
        self.metrics = metrics
        self.under_way = 0
        self.stopping = False
        self.failure: Exception | None = None
        self.stuck = False
        self._reader: Reader | None = None
        self._asking: AsyncReader | None = None
        self._loading: asyncio.Task[None] | None = None
        self._scoring = asyncio.Semaphore(1)
        self._waiting_scores = 0

    @property
    def ready(self) -> bool:
        """The model is loaded, has passed its golden check, and takes questions."""
        return self._asking is not None and not self.stopping

    def start(self) -> None:
        """Begin to load the model, once; `ready` or `failure` tells when that is done."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())

    async def _load(self) -> None:
        try:
            reader = await asyncio.to_thread(self._load_and_check)
        except Exception as error:  # noqa: BLE001 - whoever runs the server ends it and says why
            self.failure = error
            return
        settings = self.settings
        batch_tokens = settings.max_batch_tokens
        self._reader = reader
        self._asking = AsyncReader(
            reader,
            max_batch_tokens=self.model.options.batch_tokens if batch_tokens is None else batch_tokens,
            max_wait_ms=settings.max_wait_ms,
            max_queue=settings.max_queue,
            observer=self.metrics,
        )
        self.metrics.model(self.model)
        LOGGER.info("ready", extra={"fields": {"bundle": str(self.model.bundle.path)}})

    def _load_and_check(self) -> Reader:
        reader = self.model.load()
        model = self.model = self.model.as_loaded(reader)
        text = model.bundle.text(model.bundle.graph(model.precision).golden)
        check = golden.check(reader, text, model.precision)
        if not check.passed:
            raise BundleError(
                f"{model.precision} of {model.bundle.path} does not give here what it gave at export: logits are "
                f"off by {check.max_abs:.2g}, {check.tolerance:g} is allowed. qa-onnx inspect --verify says more; "
                "another --precision may do"
            )
        return reader

    async def close(self) -> None:
        """End the reader; whoever still waits for it gets an error."""
        self.stopping = True
        if self._loading is not None:
            self._loading.cancel()
        if self._asking is not None:
            try:
                async with asyncio.timeout(_CLOSING_S):
                    await self._asking.close(drain=False)
            except TimeoutError:
                self.stuck = True

    @property
    def depth(self) -> int:
        """Questions that wait or run."""
        return 0 if self._asking is None else self._asking.depth

    def deadline(self, arrived: float) -> float:
        """When a request that arrived then must have been answered."""
        return arrived + self.settings.timeout_s

    async def ask(self, example: Example, options: Options, deadline: float) -> Prediction:
        """Ask the model one question.

        Raises:
            Problem: the server is starting.
            QueueFullError: too many wait.
            DeadlineError: the deadline, as `time.monotonic` counts, has passed.
        """
        left = deadline - monotonic()
        if left <= 0:
            raise DeadlineError("no time is left for this question")
        prediction = await self._ready_reader().predict(example, options=options, timeout_s=left)
        self.metrics.answered()
        return prediction

    async def ask_many(
        self, examples: Sequence[Example], options: Options, deadline: float
    ) -> AsyncGenerator[Prediction | Exception, None]:
        """Ask many questions, a share of the queue at a time.

        Yields:
            What became of each, in their order, as soon as it and those before it are done.
        """
        share = max(1, self.settings.max_queue // 4)
        tasks: list[asyncio.Task[Prediction]] = []
        try:
            for index in range(len(examples)):
                for example in examples[len(tasks) : index + share]:
                    patient = bool(tasks)  # a queue that is full for the first one refuses them all
                    ask = self._ask_patiently(example, options, deadline, patient=patient)
                    tasks.append(asyncio.ensure_future(ask))
                yield await _settled(tasks[index])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_patiently(
        self, example: Example, options: Options, deadline: float, *, patient: bool
    ) -> Prediction:
        while True:
            try:
                return await self.ask(example, options, deadline)
            except QueueFullError:
                if not patient:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def logits(self, example: Example, deadline: float) -> list[WindowLogits]:
        """The windows of an example, in the order of the text, with their logits; one example at a time.

        Raises:
            Problem: the server is starting, or too many wait.
            DeadlineError: the deadline has passed.
        """
        self._ready_reader()
        if self._waiting_scores >= _MOST_SCORES:
            raise problems.busy("too many requests for scores are waiting", 1)
        stop = threading.Event()
        self._waiting_scores += 1
        try:
            async with asyncio.timeout(deadline - monotonic()), self._scoring:
                return await asyncio.to_thread(self._run, example, stop)
        except TimeoutError:
            raise DeadlineError("no time is left for these scores") from None
        finally:
            self._waiting_scores -= 1
            stop.set()

    def _run(self, example: Example, stop: threading.Event) -> list[WindowLogits]:
        assert self._reader is not None
        options = self.model.options
        steps = self._reader.steps
        (cut,) = steps.cut([example], options)
        rows: list[WindowLogits] = []
        for _, batch_rows in steps.run(cut.windows, batch_tokens=options.batch_tokens):
            if stop.is_set():
                break
            rows += batch_rows
        return sorted(rows, key=lambda row: row.window.token_offset)

    def choose(self, prediction: Prediction, options: Options) -> Any:
        """The answer under the options' null threshold."""
        return self._ready_reader().choose(prediction, options=options)

    def _ready_reader(self) -> AsyncReader:
        if self._asking is None:
            raise problems.starting()
        return self._asking


async def _settled(task: asyncio.Task[Prediction]) -> Prediction | Exception:
    try:
        return await task
    except Exception as error:  # noqa: BLE001 - it is the outcome
        return error
