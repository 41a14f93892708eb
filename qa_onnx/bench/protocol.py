"""The contender's side of the protocol: answer requests over pipes, and time the calls.

Environments of other projects run this file too (benchmarks/rivals), so it imports the standard library only. The
other side is process.py. All lines are JSON objects:

    out  {"ready": true, ...}                                             once, with facts about the contender
    in   {"pairs": [[question, context], ...], "alone": false}            all in one call, or one call a pair
    out  {"seconds": [...], "answers": [...]}                             seconds of each call, text to answer
    in   {"pairs": [...], "arrivals": [0.0, 0.4, ...], "most": 64}        each pair is asked when it arrives
    out  {"latencies": [...], "answers": [...]}                           seconds from arrival to answer
    in   {"do": "stages", ...}                                            only some contenders can
    out  its result

The first two may have "options" that the contender defines. A failure is {"error": "..."}.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, TypeAlias

    Pair: TypeAlias = tuple[str, str]
    Answer: TypeAlias = Callable[..., Sequence[str]]
    Handler: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


def own_stdout() -> IO[str]:
    """Return the stream for replies; from now on other output of the process goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    return out


def say(out: IO[str], **reply: object) -> None:
    """Send one reply."""
    print(json.dumps(reply), file=out, flush=True)


def serve(
    out: IO[str],
    answer: Answer,
    *,
    facts: dict[str, Any] | None = None,
    before: Callable[[], None] = lambda: None,
    **handlers: Handler,
) -> None:
    """Report that the contender is ready, then answer requests until stdin ends.

    Args:
        out: from `own_stdout`, which must be called before anything is loaded.
        answer: takes pairs of question and context, and the request's options by name; returns a text for each,
            "" for no answer.
        facts: facts to send with `ready`, such as versions.
        before: is called before each timed call, to clear caches; with "arrivals" only before the first.
        handlers: other requests, by the name in "do".
    """
    say(out, ready=True, **(facts or {}))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(out, **_reply(request, answer, before, handlers))
        except Exception as error:  # noqa: BLE001  # the other side decides what to do
            say(out, error=f"{type(error).__name__}: {error}")


def _reply(
    request: dict[str, Any], answer: Answer, before: Callable[[], None], handlers: dict[str, Handler]
) -> dict[str, Any]:
    if "do" in request:
        before()
        return handlers[request["do"]](request)
    pairs: list[Pair] = [(question, context) for question, context in request["pairs"]]
    options = request.get("options", {})
    if "arrivals" in request:
        before()
        return _at_arrivals(pairs, request["arrivals"], request["most"], answer, options)
    calls = [[pair] for pair in pairs] if request.get("alone") else [pairs]
    seconds: list[float] = []
    answers: list[str] = []
    for call in calls:
        before()
        started = time.perf_counter()
        answers += answer(call, **options)
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "answers": answers}


def _at_arrivals(
    pairs: list[Pair], arrivals: list[float], most: int, answer: Answer, options: dict[str, Any]
) -> dict[str, Any]:
    """Ask each pair when it arrives; pairs that wait when a call ends share the next one, up to `most`."""
    latencies: list[float] = []
    answers: list[str] = []
    began = time.perf_counter()
    while len(answers) < len(pairs):
        done = len(answers)
        time.sleep(max(0.0, arrivals[done] - (time.perf_counter() - began)))
        now = time.perf_counter() - began
        waiting = [pair for pair, at in zip(pairs[done:], arrivals[done:], strict=True) if at <= now][:most]
        answers += answer(waiting or pairs[done : done + 1], **options)
        ended = time.perf_counter() - began
        latencies += [ended - at for at in arrivals[done : len(answers)]]
    return {"latencies": latencies, "answers": answers}
