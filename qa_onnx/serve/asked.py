"""A request for answers -> results, one or many, whole or line by line."""

from __future__ import annotations

import dataclasses
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from qa_onnx import Example
from qa_onnx.errors import ClosedError, QueueFullError
from qa_onnx.serve import results
from qa_onnx.serve.middleware import failed
from qa_onnx.serve.problems import field_problem
from qa_onnx.serve.schemas import AskMany
from qa_onnx.serve.settings import MAX_ANSWERS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from qa_onnx import Options, Prediction
    from qa_onnx.serve.middleware import RequestState
    from qa_onnx.serve.schemas import AskOne
    from qa_onnx.serve.service import Service
    from qa_onnx.serve.settings import Model


class Asked:
    """What a request asks for.

    Args:
        service: to ask.
        ask: the request's body.
        request: what else is known of it.

    Raises:
        Problem: an option is out of the model's range.
    """

    def __init__(self, service: Service, ask: AskOne | AskMany, request: RequestState) -> None:
        self.several = isinstance(ask, AskMany)
        self._service = service
        self._request = request
        self._unit = ask.offset_unit
        items = ask.examples if isinstance(ask, AskMany) else [ask]
        self._examples = [Example(item.question, item.context) for item in items]
        self._names: list[dict[str, Any]] = [{}]  # what a result has beside the answer
        if isinstance(ask, AskMany):
            self._names = [{"id": item.id} for item in ask.examples]
        self._options = _options(ask, service.model, len(self._examples))
        self._deadline = service.deadline(request.arrived)
        request.questions = len(self._examples)

    async def one(self) -> dict[str, Any]:
        """The result of the only question."""
        (example,) = self._examples
        prediction = await self._service.ask(example, self._options, self._deadline)
        return self._result(0, prediction)

    async def many(self) -> dict[str, Any]:
        """All results; the first error ends it."""
        found = []
        async with aclosing(self._outcomes()) as outcomes:
            async for index, outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
                found.append(self._result(index, outcome))
        return {"results": found}

    async def lines(self) -> AsyncIterator[bytes]:
        """A JSON line for each question in their order, as soon as it can be written.

        Raises:
            Exception: the first question was refused for want of room, and so is the request.
        """
        outcomes = self._outcomes()
        first = await anext(outcomes)
        if isinstance(first[1], QueueFullError | ClosedError):
            await outcomes.aclose()
            raise first[1]

        async def written() -> AsyncIterator[bytes]:
            async with aclosing(outcomes):
                yield self._line(*first)
                async for index, outcome in outcomes:
                    yield self._line(index, outcome)

        return written()

    async def _outcomes(self) -> AsyncGenerator[tuple[int, Prediction | Exception], None]:
        many = self._service.ask_many(self._examples, self._options, self._deadline)
        async with aclosing(many):
            index = 0
            async for outcome in many:
                yield index, outcome
                index += 1

    def _result(self, index: int, prediction: Prediction) -> dict[str, Any]:
        answer = self._service.choose(prediction, self._options)
        milliseconds = self._request.milliseconds
        result = results.result(self._examples[index], prediction, answer, self._unit, milliseconds)
        return {**self._names[index], **result}

    def _line(self, index: int, outcome: Prediction | Exception) -> bytes:
        if isinstance(outcome, Exception):
            problem = failed(outcome, self._request, self._service.metrics)
            content = {**self._names[index], "error": problem.content(self._request.id)}
        else:
            content = self._result(index, outcome)
        return results.encode(content) + b"\n"


def _options(ask: AskOne | AskMany, model: Model, count: int) -> Options:
    """The options of a request: the server's own where it says nothing."""
    given = ask.model_fields_set
    for name, limit in (("doc_stride", model.max_doc_stride), ("max_answer_length", model.max_length)):
        if name in given and getattr(ask, name) > limit:
            raise field_problem(f"#/{name}", f"Input should be less than or equal to {limit}")
    names = {"n_best", "null_threshold", "max_answer_length", "doc_stride"} & given
    options = dataclasses.replace(model.options, **{name: getattr(ask, name) for name in names})
    if count * options.n_best > MAX_ANSWERS:
        raise field_problem(
            "#/n_best", f"{count} examples times n_best {options.n_best} is more than {MAX_ANSWERS}: lower one"
        )
    return options
