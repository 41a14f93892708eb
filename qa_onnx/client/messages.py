"""Questions -> requests -> answers: the JSON of `qa-onnx serve`, on the client's side.

Left out: how requests are sent (sync_client.py, async_client.py) and repeated (attempts.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar

import msgspec

from qa_onnx.answers import Answer, Prediction, State
from qa_onnx.errors import InputError, ServerError, quoted
from qa_onnx.windows import as_example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from qa_onnx.windows import AnyExample

T = TypeVar("T")
MOST_QUESTIONS = 64  # of a request: a server answers them within its --timeout-s
_MOST_BYTES = 1 << 18  # of a request with several: a quarter of what a server takes by default


class AskOptions(TypedDict, total=False):
    """Options of a question, as in `Options`; those that are missing have the server's defaults."""

    n_best: int
    overlapping: bool
    null_threshold: float | Literal["bundle"] | None
    min_probability: float
    max_answer_length: int
    doc_stride: int
    across_blocks: bool
    align_to_words: bool


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class ServedPrediction(Prediction):
    """A prediction with the answer that the server chose, by its null threshold and the options.

    Attributes:
        answer: as `Reader.ask` returns it; falsy when there is none, and when it is not sure.
        milliseconds: from the arrival of its request, which may hold other questions, to the result.
    """

    answer: Answer
    milliseconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return super(ServedPrediction, self).to_dict() | {"answer": self.answer.to_dict()}


@dataclass(frozen=True, slots=True)
class Exchange(Generic[T]):
    """A request to a server, and how its reply is read.

    Attributes:
        path: of the endpoint.
        content: JSON to post; None: nothing, with GET.
        read: turns the content of a reply with status 200 into the result; a ValueError: it is not such a reply.
    """

    path: str
    content: bytes | None
    read: Callable[[bytes], T]


class _Result(msgspec.Struct):
    state: State
    answers: tuple[Answer, ...]  # their evidence and documents are left out
    null_score: float
    null_probability: float
    warnings: tuple[str, ...]
    milliseconds: float


class _Results(msgspec.Struct):
    results: list[_Result]


class _FieldError(msgspec.Struct):
    pointer: str
    detail: str


class _Problem(msgspec.Struct):
    detail: str
    request_id: str = ""
    errors: list[_FieldError] = []


def asking_one(question: str, context: str, options: AskOptions) -> Exchange[Answer]:
    """Return the request of one question.

    Raises:
        InputError: a text is not a str, or something cannot be written as JSON.
    """
    as_example((question, context))  # checks them
    content = _encode({"question": question, "context": context, **options})
    return Exchange("/v1/answer", content, lambda reply: _prediction(_decode(reply, _Result)).answer)


def asking_many(examples: Iterable[AnyExample], options: AskOptions) -> Iterator[Exchange[list[ServedPrediction]]]:
    """Yield the requests of any number of questions, some in each.

    Raises:
        InputError: an item is no example, or something cannot be written as JSON.
    """
    group: list[bytes] = []
    size = 0
    rest = _encode({"examples": [], **options})[len(b'{"examples":[') :]
    for example in map(as_example, examples):
        item = _encode({"question": example.question, "context": example.context})
        if group and (size + len(item) > _MOST_BYTES or len(group) == MOST_QUESTIONS):
            yield _together(group, rest)
            group, size = [], 0
        group.append(item)
        size += len(item)
    if group:
        yield _together(group, rest)


def _together(items: list[bytes], rest: bytes) -> Exchange[list[ServedPrediction]]:
    def read(reply: bytes) -> list[ServedPrediction]:
        results = _decode(reply, _Results).results
        if len(results) != len(items):
            raise ValueError(f"{len(results)} results for {len(items)} questions")
        return [_prediction(result) for result in results]

    return Exchange("/v1/answer", b'{"examples":[' + b",".join(items) + rest, read)


def bundle_info() -> Exchange[dict[str, Any]]:
    """Return the request for what the server says of its bundle."""
    return Exchange("/v1/bundle", None, lambda reply: _decode(reply, dict[str, Any]))


def problem(status: int, headers: Mapping[str, str], content: bytes, address: str) -> ServerError:
    """Return the error of a reply that is no answer, of a proxy too, whose content is not read."""
    try:
        found = _decode(content, _Problem)
    except ValueError:
        found = _Problem(f"it is no answer of qa-onnx serve, but {quoted(headers.get('content-type', 'nothing'))}")
    return ServerError(
        f"{address} answered with status {status}: {found.detail}",
        status=status,
        detail=found.detail,
        request_id=found.request_id or headers.get("x-request-id", ""),
        errors=tuple((error.pointer, error.detail) for error in found.errors),
    )


def _prediction(result: _Result) -> ServedPrediction:
    return ServedPrediction(
        result.answers,
        result.null_score,
        result.null_probability,
        result.warnings,
        answer=_chosen(result),
        milliseconds=result.milliseconds,
    )


def _chosen(result: _Result) -> Answer:
    if result.state == "none":
        return Answer("", 0, 0, result.null_score, result.null_probability)
    if not result.answers:
        raise ValueError(f"the state is {result.state}, but there are no answers")
    return replace(result.answers[0], sure=result.state == "answer")


def _decode(content: bytes, kind: type[T]) -> T:
    return msgspec.json.decode(content, type=kind)  # its errors are ValueErrors


def _encode(content: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise InputError("a text has half of a surrogate pair, which JSON cannot hold: remove it") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"a value cannot be sent as JSON: {error}") from None
