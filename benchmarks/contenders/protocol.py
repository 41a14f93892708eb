"""What a contender of benchmarks/race.py does, in the standard library alone.

It says `{"ready": true}`, then takes lines `{"pairs": [[question, context], ...]}` on stdin and says
`{"seconds": ..., "answers": [...]}` on stdout for each: wall time, text to answer.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(answer: Callable[[list[tuple[str, str]]], list[str]]) -> None:
    """Answer requests until stdin ends."""
    out, sys.stdout = sys.stdout, sys.stderr  # a library's own prints must not mix with the replies
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        pairs = [(question, context) for question, context in json.loads(line)["pairs"]]
        started = time.perf_counter()
        answers = answer(pairs)
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "answers": answers}), file=out, flush=True)
