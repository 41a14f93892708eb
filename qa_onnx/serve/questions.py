"""The questions of a request -> their results: one of a context or of several documents, or many.

    one     a result; or lines of JSON, its progress and at last the result
    many    a list of results, or a line for each

The best passages of documents go through the same queue as all questions, a few at a time, so that nobody else
waits for them longer than for as many short questions.

Left out: which passages are read (the room `retrieval`).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi.responses import StreamingResponse

from qa_onnx import Example, Prediction
from qa_onnx.documents import Document
from qa_onnx.retrieval import PassageIndex
from qa_onnx.retrieval.ask import read_best
from qa_onnx.retrieval.ask_all import read_every
from qa_onnx.retrieval.reading import Budget
from qa_onnx.serve import bodies, problems, results, schemas
from qa_onnx.serve.middleware import to_problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from fastapi import Response

    from qa_onnx import Options
    from qa_onnx.dynamic_batching.requests import OnProgress
    from qa_onnx.retrieval.reading import Reading
    from qa_onnx.serve.middleware import RequestState
    from qa_onnx.serve.service import Service

    _One: TypeAlias = schemas.AskOne | schemas.AskDocuments
    _Work: TypeAlias = Callable[[OnProgress | None], Awaitable[dict[str, Any]]]

_SHARE = 0.9  # of the time that is left, for reading: the answers must be found and sent, too


async def respond(service: Service, state: RequestState, body: schemas.Ask, media: str | None) -> Response:
    """Answer a request.

    Args:
        service: that answers.
        state: of the request.
        body: of the request.
        media: type of the response, if that is to be lines of JSON.

    Raises:
        Problem: an option is out of the model's range.
        Exception: as `AskedQuestions.one` and `AskedQuestions.many`, where the response is no lines.
    """
    state.questions = len(body.examples) if isinstance(body, schemas.AskMany) else 1
    asked = AskedQuestions(service, state, bodies.options_of(body, service.model, state.questions))
    if isinstance(body, schemas.AskMany):
        if media is not None:  # middleware.py holds the head back until there is a line, or an error
            return StreamingResponse(asked.lines_of_many(body), media_type=media)
        return results.respond({"results": await asked.many(body)})
    if media is not None:
        return StreamingResponse(asked.lines_of_one(body), media_type=media)
    return results.respond(await asked.one(body))


@dataclass(frozen=True, slots=True)
class AskedQuestions:
    """The questions of a request.

    Attributes:
        service: that answers.
        state: of the request.
        options: of the request.
    """

    service: Service
    state: RequestState
    options: Options

    async def one(self, body: _One, on_progress: OnProgress | None = None) -> dict[str, Any]:
        """Return the `AnswerResult` or `DocumentsResult`.

        Args:
            body: of the request.
            on_progress: is called with what was read so far and with all that may be read, from any thread.

        Raises:
            Problem: the server is starting.
            QaOnnxError: of the question.
            TimeoutError: the deadline has passed.
        """
        if isinstance(body, schemas.AskDocuments):
            return await self._of_documents(body, on_progress)
        examples = [Example(body.question, body.context)]
        [prediction] = await self.service.ask_parts(
            examples, self.options, self.state.deadline, on_progress=on_progress
        )
        return await self._result(
            body, body.question, [(None, body.context)] * len(prediction.answers), prediction
        )

    async def lines_of_one(self, body: _One) -> AsyncGenerator[bytes]:
        """Yield a line for each step of the progress, if it is wanted, and at last the result or the error.

        Raises:
            Exception: as `one`, where there was no line before.
        """
        begun, work = False, partial(self.one, body)
        async with aclosing(_followed(work) if body.progress else _alone(work)) as parts:
            try:
                async for part in parts:
                    yield results.encode(part) + b"\n"
                    begun = True
            except Exception as error:
                if begun:
                    yield results.encode(self._failed(error)) + b"\n"
                elif isinstance(
                    error, OSError
                ):  # a TimeoutError is one; starlette takes it for a client that left
                    raise problems.from_error(error) from error
                else:
                    raise

    async def many(self, body: schemas.AskMany) -> list[dict[str, Any]]:
        """Return the `ExampleResult` of each example.

        Raises:
            Exception: the error of the first one that fails.
        """
        found = []
        async with aclosing(self._outcomes(body)) as outcomes:
            async for item, outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
                found.append({"id": item.id} | outcome)
        return found

    async def lines_of_many(self, body: schemas.AskMany) -> AsyncGenerator[bytes]:
        """Yield a line for each example, with its result or its error, in their order, as soon as possible.

        Raises:
            Problem: the server is starting.
            QueueFullError: too many questions wait.
        """
        async with aclosing(self._outcomes(body)) as outcomes:
            async for item, outcome in outcomes:
                line = self._failed(outcome) if isinstance(outcome, Exception) else outcome
                yield results.encode({"id": item.id} | line) + b"\n"

    async def _outcomes(
        self, body: schemas.AskMany
    ) -> AsyncGenerator[tuple[schemas.AskExample, dict[str, Any] | Exception]]:
        """Yield each example with its result or its error."""
        items = iter(body.examples)
        examples = [Example(item.question, item.context) for item in body.examples]
        async with aclosing(self.service.ask_each(examples, self.options, self.state.deadline)) as predictions:
            async for outcome in predictions:
                item = next(items)
                result: dict[str, Any] | Exception
                if isinstance(outcome, Exception):
                    result = outcome
                else:
                    sources = [(None, item.context)] * len(outcome.answers)
                    try:
                        result = await self._result(body, item.question, sources, outcome)
                    except TimeoutError as error:
                        result = error
                yield item, result

    def _failed(self, error: Exception) -> dict[str, Any]:
        return {"error": to_problem(error, self.state, self.service.metrics).content(self.state.id)}

    async def _result(
        self,
        body: schemas.AnswerOptions,
        question: str,
        sources: Sequence[tuple[str | None, str]],
        prediction: Prediction,
    ) -> dict[str, Any]:
        """Count a question, and return its result."""
        service, unit = self.service, body.offset_unit
        service.metrics.questions.inc()
        state = service.reader.choose(prediction, options=self.options).state
        make = partial(results.result, sources, prediction, unit, state, with_evidence=body.evidence)
        takes_long = body.evidence or isinstance(body, schemas.AskDocuments)
        found = await service.results.run(make, self.state.deadline) if takes_long else make()
        times = {"milliseconds": round(self.state.milliseconds, 3), "offset_unit": unit}
        return {"question": question} | found | times

    async def _of_documents(self, body: schemas.AskDocuments, on_progress: OnProgress | None) -> dict[str, Any]:
        service, deadline = self.service, self.state.deadline
        reading = await service.threads.run(partial(self._search, body), deadline)
        while some := reading.take():
            examples = [Example(body.question, passage.text) for passage in some]
            patient = reading.read > 0
            reading.add(await service.ask_parts(examples, reading.options, deadline, patient=patient))
            if on_progress is not None:
                on_progress(reading.read, reading.limit)
        found = reading.result()
        texts = {one.name: one.text for one in body.documents}
        sources = [(one.document, texts[one.document]) for one in found.answers]
        result = await self._result(body, body.question, sources, found.prediction)
        return result | {name: getattr(found, name) for name in ("read", "passages", "stopped")}

    def _search(self, body: schemas.AskDocuments) -> Reading:
        """Begin to read the documents' best passages."""
        index = PassageIndex.of(Document(one.name, one.text) for one in body.documents)
        seconds = _SHARE * (self.state.deadline - monotonic())
        budget = Budget(read=body.read, seconds=seconds, started=perf_counter())
        begin = read_every if body.all else read_best
        return begin(self.service.reader.reader, body.question, index, budget, self.options)


async def _alone(work: _Work) -> AsyncGenerator[dict[str, Any]]:
    """Yield the result of a work."""
    yield await work(None)


async def _followed(work: _Work) -> AsyncGenerator[dict[str, Any]]:
    """Yield the progress of a work, as `Progress`, and at last its result; cancel it where nobody waits for that.

    Counts that come faster than they are taken are left out, but for the last ones.
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
            failed = task.done() and (task.cancelled() or task.exception() is not None)
            if latest and not failed:
                yield {"progress": dict(latest)}
                latest.clear()
        yield task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
