"""Many requests -> their steps, taken together; an error is the outcome of the request that caused it.

`Reader` takes the steps of many examples together and raises when one of them fails. Here the examples belong to
different callers, so what fails together is tried again in smaller groups, until the failing request is alone.

Left out: when a step is due (schedule.py), and threads (workers.py).
"""

from __future__ import annotations

import logging
import math
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from itertools import chain
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from qa_onnx.errors import DeadlineError, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from qa_onnx.answers import Prediction
    from qa_onnx.dynamic_batching.observer import Watch
    from qa_onnx.options import Options
    from qa_onnx.session import Stop
    from qa_onnx.spans import ScoredWindow, WindowLogits
    from qa_onnx.steps import Steps
    from qa_onnx.windows import CutExample, Example, Window

_LONG_TEXT = 30_000  # characters from which a request is cut in a thread of its own

_log = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound="Hashable")
_Part = TypeVar("_Part")
_Outcome = TypeVar("_Outcome")
OnProgress: TypeAlias = "Callable[[int, int], object]"
_Work: TypeAlias = "Sequence[tuple[Request, _Part]]"  # parts of requests: examples to cut or windows to run


@dataclass(eq=False, slots=True)
class Request:
    """An example on its way to a prediction; `number` counts requests in the order in which they came.

    Attributes:
        timeout_s: seconds that it may take; infinite: no limit.
        accepted: when it came, as `time.monotonic` counts.
        future: what the caller holds.
        cut: its windows; None: they are not cut yet.
        scored: the windows that have run, in any order.
        has_run: whether a window runs or has run.
        wants_logits: whether its outcome is not a prediction, but the logits of its windows.
        on_progress: is called with the windows that have run, and with all of them; see `AsyncReader.submit`.
    """

    number: int
    example: Example
    options: Options
    timeout_s: float = math.inf
    accepted: float = field(default_factory=monotonic)
    future: Future[Any] = field(default_factory=Future)
    cut: CutExample | None = None
    scored: list[ScoredWindow] = field(default_factory=list)
    has_run: bool = False
    wants_logits: bool = False
    on_progress: OnProgress | None = None

    @property
    def deadline(self) -> float:
        """When its time is over, as `time.monotonic` counts."""
        return self.accepted + self.timeout_s

    @property
    def characters(self) -> int:
        """Characters of question and context."""
        return len(self.example.question) + len(self.example.context)

    @property
    def is_long(self) -> bool:
        """Whether cutting it takes so long that others should not wait for it."""
        return self.characters > _LONG_TEXT

    def is_due(self) -> bool:
        """Return whether to go on with it; one whose time is over fails with DeadlineError."""
        if monotonic() >= self.deadline:
            self.settle(too_late(self.timeout_s))
        return not self.future.done()

    def report(self) -> None:
        """Tell the caller how many of its windows have run, unless it has its outcome."""
        if self.on_progress is not None and self.cut is not None and not self.future.done():
            try:
                self.on_progress(len(self.scored), len(self.cut.windows))
            except Exception:  # noqa: BLE001  # the caller's code, of any kind
                _log.exception("a callback for progress failed; the work goes on")

    def settle(self, outcome: Prediction | list[WindowLogits] | BaseException) -> None:
        """Give the caller the outcome, unless there was one before: the caller may have cancelled the future."""
        try:
            if isinstance(outcome, BaseException):
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)
        except InvalidStateError:
            pass
        except BaseException:  # noqa: BLE001  # of a callback; Future catches only those that are an Exception
            _log.exception("a callback of a future failed; the work goes on")


def too_late(timeout_s: float) -> DeadlineError:
    """Return the error of a question that was not answered in time."""
    return DeadlineError(
        f"no answer within timeout_s = {timeout_s:g}: send fewer or shorter texts, or wait longer"
    )


def cut(steps: Steps, requests: Iterable[Request]) -> list[tuple[Request, CutExample | BaseException]]:
    """Cut the examples of requests into windows; returns the outcome of each request, in any order."""

    def step(work: _Work[Example]) -> list[tuple[Request, CutExample]]:
        outcomes: list[tuple[Request, CutExample]] = []
        for options, same in _groups(work, lambda item: item[0].options).items():
            examples = steps.cut([example for _, example in same], options)
            outcomes += [(request, example) for (request, _), example in zip(same, examples, strict=True)]
        return outcomes

    return _isolated(step, [(request, request.example) for request in requests])


def score(
    steps: Steps, work: _Work[Window], *, batch_tokens: int, watch: Watch, stop: Stop
) -> list[tuple[Request, ScoredWindow | BaseException]]:
    """Run windows and find their best spans, until `stop` is requested.

    Returns:
        The outcome of each window, in any order; for a request that fails, its error once.
    """

    def step(work: _Work[Window]) -> list[tuple[Request, ScoredWindow]]:
        outcomes: list[tuple[Request, ScoredWindow]] = []
        owners = {id(window): request for request, window in work}
        sizes: list[tuple[int, int]] = []
        searches: list[float] = []
        seconds, began = 0.0, perf_counter()
        for batch, rows in steps.run([window for _, window in work], batch_tokens=batch_tokens, stop=stop):
            ran = perf_counter()
            sizes.append((len(rows), batch.tokens))
            seconds += ran - began
            for options, same in _groups(rows, lambda row: owners[id(row.window)].options).items():
                outcomes += [(owners[id(part.window)], part) for part in steps.search(same, options)]
            began = perf_counter()
            searches.append(began - ran)
        watch.ran(sizes, seconds)
        for search in searches:
            watch.notify("stage", "search", search)
        return outcomes

    return _isolated(step, work)


def _isolated(
    step: Callable[[_Work[_Part]], list[tuple[Request, _Outcome]]], work: _Work[_Part]
) -> list[tuple[Request, _Outcome | BaseException]]:
    """Take a step for many requests; where it fails, take it for each half of them, down to the one that fails."""
    try:
        return list(step(work))
    except BaseException as error:  # noqa: BLE001  # it is the outcome
        waiting = [(request, part) for request, part in work if not request.future.done()]
        alone = list(_groups(waiting, lambda item: item[0].number).values())
        if len(alone) == 1 and len(waiting) == len(work):
            return [(work[0][0], _presentable(error))]
        halves = alone[: len(alone) // 2], alone[len(alone) // 2 :]
        return [outcome for half in halves if half for outcome in _isolated(step, list(chain.from_iterable(half)))]


def collect(
    outcomes: Iterable[tuple[Request, ScoredWindow | BaseException]],
) -> dict[Request, BaseException | None]:
    """Give windows that have run to their requests.

    Returns:
        The requests that have failed, with their error, and those whose windows have now all run, with None.
    """
    done: dict[Request, BaseException | None] = {}
    for request, outcome in outcomes:
        if isinstance(outcome, BaseException):
            done[request] = outcome
            continue
        request.scored.append(outcome)
        if request.cut is not None and len(request.scored) == len(request.cut.windows):
            done.setdefault(request, None)
    return done


def merge(steps: Steps, request: Request) -> Prediction | list[WindowLogits] | BaseException:
    """Return the outcome of a request whose windows have all run."""
    assert request.cut is not None
    if request.wants_logits:
        rows = sorted((part.logits for part in request.scored), key=lambda row: row.window.token_offset)
        return [row.without_padding() for row in rows]
    try:
        return steps.merge(request.cut, request.scored, request.options)
    except BaseException as error:  # noqa: BLE001  # it is the outcome
        return _presentable(error)


def _groups(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """Group items by key; each group keeps their order."""
    grouped: dict[_Key, list[_Item]] = {}
    for item in items:
        grouped.setdefault(key(item), []).append(item)
    return grouped


def _presentable(error: BaseException) -> BaseException:
    """Return an error that `except Exception` catches: a panic of the tokenizers library is none."""
    if isinstance(error, Exception):
        return error
    failure = EngineError(f"tokenizer or engine gave up on this question: {error!r}")
    failure.__cause__ = error
    return failure
