"""One question on documents of 1 to 1,000 windows: seconds, windows a second, and peak memory.

    python benchmarks/document_length.py [--bundle B --precision P --engine E --threads N]

The process has answered only shorter documents before each one.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pages import Page, finish, parser

from qa_onnx import Bundle, Example, Options, Windower
from qa_onnx.bench.process import ContenderProcess

if TYPE_CHECKING:
    from argparse import Namespace

ARTICLE = Path(__file__).parents[1] / "examples" / "lighthouse.txt"
QUESTION = "Who designed the tower?"
WINDOWS = (1, 3, 10, 30, 100, 300, 1000)
QUICK = (1, 10, 30)
_REPEATED = 100  # windows up to which an answer is timed several times
_REPEATS = 3


def measure(chosen: Namespace) -> Page:
    """Return a page with a row for each length."""
    bundle = Bundle.load(chosen.bundle)
    windower = Windower(bundle.text(bundle.manifest.tokenizer), cls_id=bundle.manifest.cls_id)
    options = Options.for_windows_of(bundle.manifest.max_length)
    load = {
        "bundle": str(bundle.path),
        "precision": chosen.precision,
        "engine": chosen.engine,
        "threads": chosen.threads,
    }
    rows = []
    command = [sys.executable, "-m", "qa_onnx.bench.answerer", json.dumps(load)]
    with ContenderProcess("qa-onnx", command) as process:
        for wanted in QUICK if chosen.quick else WINDOWS:
            document = text_of(wanted, windower, options)
            count = len(windower.cut([Example(QUESTION, document)], options)[0].windows)
            request = {"pairs": [(QUESTION, document)]}
            times = [process.ask(request)["seconds"][0] for _ in range(_REPEATS if count <= _REPEATED else 1)]
            seconds, peak = statistics.median(times), process.peak_bytes()
            rows.append(
                (
                    f"{count:,}",
                    f"{len(document):,}",
                    f"{seconds:,.3f}",
                    f"{count / seconds:,.1f}",
                    "" if peak is None else f"{peak / 1e6:,.0f}",
                )
            )
    return Page(
        title="Scaling with the length of a document",
        head=("windows", "characters", "s", "windows/s", "peak MB"),
        rows=tuple(rows),
        notes=(
            f"{bundle.manifest.source.name} {chosen.precision or 'as loaded by default'}, "
            f"{process.facts['backend']}, {chosen.threads or 'all'} threads; medians of {_REPEATS} up to "
            f"{_REPEATED} windows, one run beyond",
        ),
    )


def text_of(windows: int, windower: Windower, options: Options) -> str:
    """Return a document of about so many windows; exact for small numbers."""
    words = ARTICLE.read_text(encoding="utf-8").split()
    step = options.max_length - options.doc_stride
    count = max(40, int((options.max_length + (windows - 1) * step) / 1.5))
    for _ in range(4):
        text = " ".join(words[number % len(words)] for number in range(count))
        actual = len(windower.cut([Example(QUESTION, text)], options)[0].windows)
        if actual == windows:
            break
        count = int(count * (windows - 0.4) / actual) if windows > 1 else count // 2
    return text


if __name__ == "__main__":
    cli = parser(__doc__)
    cli.add_argument("--bundle", type=Path)
    cli.add_argument("--precision")
    cli.add_argument("--engine", default="onnxruntime")
    cli.add_argument("--threads", type=int)
    options = cli.parse_args()
    finish(measure(options), options.json)
