"""What a contender does: it answers requests over pipes, and times itself. In the standard library alone.

Other projects' environments run this too (benchmarks/rivals), so it imports nothing of qa_onnx. The other end is
contender.py. All lines are JSON objects:

    out  {"ready": true, ...}                                             once, with what is worth knowing of it
    in   {"pairs": [[question, context], ...], "alone": false}            all in one call, or one call a pair
    out  {"seconds": [...], "answers": [...]}                             seconds of each call, text to answer
    in   {"pairs": [...], "arrivals": [0.0, 0.4, ...], "most": 64}        each pair is asked at its time
    out  {"latencies": [...], "answers": [...]}                           seconds from arrival to answer
    in   {"do": "stages", ...}                                            what only some contenders can
    out  whatever that gives

In the first two, "options" holds further arguments of the contender's own. A failure is {"error": "..."}.
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
    """The way out for replies; whatever else the process prints from now on goes to stderr."""
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
    """Say that it is ready, then answer requests until stdin ends.

    Args:
        out: from `own_stdout`, called before anything was loaded.
        answer: takes pairs of question and context, and the request's options by name; gives a text for each,
            "" for no answer.
        facts: what to say with `ready`, such as versions.
        before: is called before each call, outside of what is timed: to forget what was seen before. Questions
            that come at their times have it once, before the first.
        handlers: what else it does, by the name in "do".
    """
    say(out, ready=True, **(facts or {}))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(out, **_reply(request, answer, before, handlers))
        except Exception as error:  # noqa: BLE001  # whoever asked decides what to do about it
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
        return _as_they_come(pairs, request["arrivals"], request["most"], answer, options)
    calls = [[pair] for pair in pairs] if request.get("alone") else [pairs]
    seconds: list[float] = []
    answers: list[str] = []
    for call in calls:
        before()
        started = time.perf_counter()
        answers += answer(call, **options)
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "answers": answers}


def _as_they_come(
    pairs: list[Pair], arrivals: list[float], most: int, answer: Answer, options: dict[str, Any]
) -> dict[str, Any]:
    """Ask each pair at its time; whoever waits when a call ends is answered by the next, at most so many."""
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
