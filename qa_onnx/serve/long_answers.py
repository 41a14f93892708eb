"""A question of several documents, or of a long context with progress -> lines of JSON, the last one the result.

The documents' best passages go through the same queue as all questions, a few at a time, so that nobody else waits
for them longer than for as many short questions.

Left out: which passages are read (the room `retrieval`).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from fastapi.responses import StreamingResponse

from qa_onnx import Example, Prediction
from qa_onnx.documents import Document
from qa_onnx.retrieval import DocumentAnswers, PassageIndex
from qa_onnx.retrieval.ask import AT_ONCE, passages_to_read
from qa_onnx.retrieval.ask_all import collect_all, options_for_all
from qa_onnx.serve import bodies, results, schemas
from qa_onnx.serve.middleware import to_problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from fastapi import Response

    from qa_onnx import Options
    from qa_onnx.dynamic_batching.requests import OnProgress
    from qa_onnx.retrieval import Passage
    from qa_onnx.retrieval.steps import ReadingSteps
    from qa_onnx.serve.middleware import RequestState
    from qa_onnx.serve.service import Service

_SHARE = 0.9  # of the time that is left, for reading: the answers must be found and sent, too


async def respond(
    service: Service, state: RequestState, body: schemas.AskOne | schemas.AskDocuments, media: str | None
) -> Response:
    """Answer a request.

    Args:
        service: that answers.
        state: of the request.
        body: of the request.
        media: type of the response, if that is to be lines of JSON.

    Raises:
        Problem: an option is out of the model's range.
        Exception: as `LongAnswer.result`.
    """
    state.questions = 1
    answer = LongAnswer(service, state, body, bodies.options_of(body, service.model, 1))
    if media is None:
        return results.respond(await answer.result())
    lines = answer.lines()
    first = await anext(lines)  # here, since StreamingResponse takes a TimeoutError for a client that is gone
    return StreamingResponse(_joined(first, lines), media_type=media)


async def _joined(first: bytes, others: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(others):
        yield first
        async for line in others:
            yield line


@dataclass(frozen=True, slots=True)
class LongAnswer:
    """A question whose result takes long.

    Attributes:
        service: that answers.
        state: of the request.
        body: of the request.
        options: of the request.
    """

    service: Service
    state: RequestState
    body: schemas.AskOne | schemas.AskDocuments
    options: Options

    async def result(self, on_progress: OnProgress | None = None) -> dict[str, Any]:
        """Return the `AnswerResult` or `DocumentsResult`.

        Args:
            on_progress: is called with what was read so far and with all that may be read, from any thread.

        Raises:
            Problem: the server is starting.
            QaOnnxError: of the question.
            TimeoutError: the deadline has passed.
        """
        body, unit = self.body, self.body.offset_unit
        if isinstance(body, schemas.AskDocuments):
            found = await self._of_documents(body, on_progress)
        else:
            prediction = await self._of_context(body, on_progress)
            state = self.service.reader.choose(prediction, options=self.options).state
            sources = [(None, body.context)] * len(prediction.answers)
            found = results.result(sources, prediction, unit, state, with_evidence=body.evidence)
        times = {"milliseconds": round(self.state.milliseconds, 3), "offset_unit": unit}
        return {"question": body.question} | found | times

    async def lines(self) -> AsyncGenerator[bytes]:
        """Yield a line for each step of the progress, if it is wanted, and at last the result or the error.

        Raises:
            Exception: as `result`, where there was no line before.
        """
        begun = False
        if not self.body.progress:
            yield results.encode(await self.result()) + b"\n"
            return
        async with aclosing(_followed(self.result)) as parts:
            try:
                async for part in parts:
                    yield results.encode(part) + b"\n"
                    begun = True
            except Exception as error:
                if not begun:
                    raise
                problem = to_problem(error, self.state, self.service.metrics)
                yield results.encode({"error": problem.content(self.state.id)}) + b"\n"

    async def _of_context(self, body: schemas.AskOne, on_progress: OnProgress | None) -> Prediction:
        examples = [Example(body.question, body.context)]
        [prediction] = await self.service.ask_parts(
            examples, self.options, self.state.deadline, on_progress=on_progress
        )
        self.service.metrics.questions.inc()
        return prediction

    async def _of_documents(self, body: schemas.AskDocuments, on_progress: OnProgress | None) -> dict[str, Any]:
        service, reader = self.service, self.service.reader
        options = options_for_all(self.options) if body.all else self.options
        steps, current, passages = await service.threads.run(partial(self._search, body), self.state.deadline)
        done = 0
        while not isinstance(current, DocumentAnswers):
            examples = [Example(body.question, passage.text) for passage in current]
            predictions = await service.ask_parts(examples, options, self.state.deadline, patient=done > 0)
            done += len(examples)
            current = _step(steps, predictions)
            if on_progress is not None:
                on_progress(done, min(body.read, passages))
        service.metrics.questions.inc()
        prediction = current.prediction
        state = reader.choose(prediction, options=self.options).state
        texts = {one.name: one.text for one in body.documents}
        sources = [(one.document, texts[one.document]) for one in current.answers]
        make = partial(results.result, sources, prediction, body.offset_unit, state, with_evidence=body.evidence)
        found = await service.threads.run(make, self.state.deadline)
        return found | {name: getattr(current, name) for name in ("read", "passages", "stopped")}

    def _search(self, body: schemas.AskDocuments) -> tuple[ReadingSteps, list[Passage] | DocumentAnswers, int]:
        """Return the steps of reading documents, the first passages, and how many passages there are."""
        index = PassageIndex.of(Document(one.name, one.text) for one in body.documents)
        reader, started = self.service.reader.reader, perf_counter()
        seconds = _SHARE * (self.state.deadline - monotonic())
        steps: ReadingSteps
        if body.all:
            found, options = index.search(body.question, body.read), options_for_all(self.options)
            steps = collect_all(
                reader, found, total=len(index), at_once=AT_ONCE, started=started, options=options, seconds=seconds
            )
        else:
            options = self.options
            steps = passages_to_read(
                reader, body.question, index, read=body.read, seconds=seconds, started=started, options=options
            )
        return steps, _step(steps, None), len(index)


def _step(steps: ReadingSteps, predictions: list[Prediction] | None) -> list[Passage] | DocumentAnswers:
    """Send the predictions of the passages before; return the next ones, or the answers."""
    try:
        return steps.send(predictions)
    except StopIteration as end:
        answers: DocumentAnswers = end.value
        return answers


async def _followed(work: Callable[[OnProgress], Awaitable[dict[str, Any]]]) -> AsyncGenerator[dict[str, Any]]:
    """Yield the progress of a work, as `Progress`, and at last its result; cancel it where nobody waits for that.

    Counts that come faster than they are taken are left out.
    """
    loop, changed, latest = asyncio.get_running_loop(), asyncio.Event(), dict[str, int]()

    def note(done: int, total: int) -> None:
        latest.update(done=done, total=total)
        changed.set()

    def on_progress(done: int, total: int) -> None:
        loop.call_soon_threadsafe(note, done, total)

    task = asyncio.ensure_future(work(on_progress))
    task.add_done_callback(lambda _: changed.set())
    try:
        while not task.done():
            await changed.wait()
            changed.clear()
            if latest and not task.done():
                yield {"progress": dict(latest)}
        yield task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
