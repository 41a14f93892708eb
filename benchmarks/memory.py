"""Resident memory over many requests of mixed lengths: does it grow?

    python benchmarks/memory.py [--bundle B --precision P --engine E] [--requests 10000]

Every request has a context of its own, 3 to 400 words, shorter ones more often, one or several windows; caches
of contexts are thus part of the figure. Reports megabytes after each tenth of the requests, and exits with 1 if
the last figure is more than 5 % above the first.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pages import Page, finish, parser

from qa_onnx import Reader

if TYPE_CHECKING:
    from argparse import Namespace

ARTICLE = Path(__file__).parents[1] / "examples" / "lighthouse.txt"
QUESTIONS = (
    "Who designed the tower?",
    "How many steps are there?",
    "When?",
    "What was the Concordia carrying, and why?",
)
TENTHS = 10
FEWEST, QUICK, FULL = 100, 400, 10_000  # requests
GROWTH = 1.05


def measure(chosen: Namespace) -> tuple[Page, bool]:
    """Ask one question at a time; return the page, and True if memory grew."""
    requests = chosen.requests
    reader = Reader.load(chosen.bundle, precision=chosen.precision, engine=cast("Any", chosen.engine))
    words = ARTICLE.read_text(encoding="utf-8").split()
    draw = random.Random(0)
    before = resident()
    sizes: dict[int, float] = {}
    rows = [("0", f"{before:.1f}", "0")]
    started = time.perf_counter()
    for number in range(1, requests + 1):
        length = 3 + int((chosen.longest - 2) * draw.random() ** 2)
        at = draw.randrange(len(words))
        context = " ".join([str(number), *(words[(at + step) % len(words)] for step in range(length))])
        reader.ask(draw.choice(QUESTIONS), context)
        if number * TENTHS % requests < TENTHS:
            sizes[number] = resident()
            rows.append((f"{number:,}", f"{sizes[number]:.1f}", f"{time.perf_counter() - started:,.0f}"))
    growth = [*sizes.values()][-1] / next(iter(sizes.values()))
    page = Page(
        title=f"Memory over {requests:,} requests",
        head=("requests", "resident MB", "s"),
        rows=tuple(rows),
        notes=(
            f"{reader.precision} in {reader.backend}; contexts of 3 to {chosen.longest} words, each another",
            f"{100 * (growth - 1):+.1f} % from {next(iter(sizes)):,} to {requests:,} requests",
        ),
    )
    return page, growth > GROWTH


def resident() -> float:
    """Return the resident megabytes of this process, on Linux."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    cli = parser(__doc__)
    cli.add_argument("--bundle", type=Path)
    cli.add_argument("--precision")
    cli.add_argument("--engine", default="onnxruntime")
    cli.add_argument("--requests", type=int, help=f"[default: {FULL:,}, quick {QUICK}]")
    cli.add_argument("--longest", type=int, default=400, help="words of a context")
    options = cli.parse_args()
    if options.requests is None:
        options.requests = QUICK if options.quick else FULL
    if options.requests < FEWEST:
        cli.error(f"--requests is {options.requests}; it must be at least {FEWEST}")
    page, grew = measure(options)
    finish(page, options.json)
    sys.exit(grew)
