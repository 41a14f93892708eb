"""Resident memory over many requests of mixed lengths: does it grow?

    python benchmarks/memory.py [--bundle B --precision P --engine E] [--requests 10000]

Every request has a context of its own, 3 to 400 words, one or several windows; what is remembered of contexts is
thus in the figure. Prints megabytes after 1,000 requests and after every further thousand, and exits with 1 where
the last is more than 5 % above the first.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, cast

from qa_onnx import Reader

ARTICLE = Path(__file__).parents[1] / "examples" / "lighthouse.txt"
QUESTIONS = (
    "Who designed the tower?",
    "How many steps are there?",
    "When?",
    "What was the Concordia carrying, and why?",
)
EVERY = 1000
GROWTH = 1.05


def main() -> None:
    """Ask, one question at a time, and watch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--precision")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--longest", type=int, default=400, help="words of a context")
    chosen = parser.parse_args()
    if chosen.requests < 2 * EVERY:
        parser.error(f"--requests must be at least {2 * EVERY}")
    reader = Reader.load(chosen.bundle, precision=chosen.precision, engine=cast("Any", chosen.engine))
    words = ARTICLE.read_text(encoding="utf-8").split()
    draw = random.Random(0)
    print(f"{reader.precision} in {reader.place}: {resident():.1f} MB before the first request")
    sizes = []
    started = time.perf_counter()
    for number in range(1, chosen.requests + 1):
        length, at = draw.randint(3, chosen.longest), draw.randrange(len(words))
        context = " ".join([str(number), *(words[(at + step) % len(words)] for step in range(length))])
        reader.ask(draw.choice(QUESTIONS), context)
        if number % EVERY == 0:
            sizes.append(resident())
            print(f"{number:6} requests {sizes[-1]:8.1f} MB  {time.perf_counter() - started:6.0f} s", flush=True)
    growth = sizes[-1] / sizes[0]
    print(f"{100 * (growth - 1):+.1f} % from {EVERY:,} to {chosen.requests:,} requests")
    sys.exit(growth > GROWTH)


def resident() -> float:
    """Megabytes of this process in memory, on Linux."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
