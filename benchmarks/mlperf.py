"""Compare MLPerf's published figures for BERT on one H100 with those of a bundle, and list the differences.

python benchmarks/mlperf.py BUNDLE [--precision fp16] [--engine onnxruntime] [--device cuda]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages import Page, finish, parser

from qa_onnx import Bundle, QaOnnxError
from qa_onnx.bench.process import ContenderProcess
from qa_onnx.machine import nvidia

if TYPE_CHECKING:
    from argparse import Namespace

ARTICLE = Path(__file__).parents[1] / "examples" / "lighthouse.txt"
QUESTION = "What is said of it here?"
# mlcommons/inference_results_v4.0, closed/NVIDIA, DGX-H100_H100-SXM-80GBx1_TRT, BERT-large on SQuAD v1.1: samples
# a second of the scenario Offline.
PUBLISHED = (
    ("MLPerf v4.0: H100 SXM 80 GB, TensorRT, 99 % of fp32's F1 (int8)", 9081.51),
    ("MLPerf v4.0: H100 SXM 80 GB, TensorRT, 99.9 % of fp32's F1 (fp8)", 7939.77),
)
DIFFERENT = (
    "MLPerf's samples are windows of SQuAD's development set, cut to at most 384 tokens and tokenized beforehand: "
    "its time has neither tokenizing nor finding the answer in the text, so it is to be compared with model alone",
    "MLPerf's windows are of many lengths, far below 384 on average, and run without padding; here they all have "
    "the length that is named",
    "MLPerf ran int8, and fp8 on this GPU, in kernels made for BERT; fp16 has half their peak",
)
LENGTHS = (384, 176)  # tokens of a window
BUDGETS = (4096, 16384, 65536)  # tokens of a batch
_ROUNDS = 3
_WORDS = 0.72  # a token


def measure(chosen: Namespace) -> Page:
    """Return the published rows, then ours at the best token budget of each length."""
    bundle = Bundle.load(chosen.bundle)
    load = {
        "bundle": str(bundle.path),
        "precision": chosen.precision,
        "engine": chosen.engine,
        "device": chosen.device,
    }
    count = 32 if chosen.quick else 2048
    rows = [(name, "<= 384", "", f"{rate:,.0f}") for name, rate in PUBLISHED]
    with ContenderProcess(
        "qa-onnx", [sys.executable, "-m", "qa_onnx.bench.answerer", json.dumps(load)]
    ) as process:
        backend = process.facts["backend"]
        for length in LENGTHS:
            rates = [_rates(process, length, count, budget) for budget in BUDGETS]
            tokens, whole, model = max(rates, key=lambda rates: rates[1])
            name = f"{bundle.manifest.source.name}, {chosen.precision}, {backend}"
            rows.append((name, f"{tokens:.0f}", f"{whole:,.1f}", f"{model:,.1f}"))
    gpus = nvidia.survey().gpus
    where = gpus[0].name if chosen.device == "cuda" and gpus else "the CPU"
    return Page(
        title="Beside MLPerf's BERT",
        head=("run", "tokens a window", "text to answer, windows/s", "model alone, windows/s"),
        rows=tuple(rows),
        notes=(f"ours: on {where}, {count:,} texts of one window, the best of {_ROUNDS}", *DIFFERENT),
    )


def _rates(process: ContenderProcess, length: int, count: int, budget: int) -> tuple[float, float, float]:
    """Return tokens a window without padding, windows a second end to end, and of the model alone."""
    words = ARTICLE.read_text(encoding="utf-8").split()
    size = int(length * _WORDS)
    texts = [" ".join(words[(number + step) % len(words)] for step in range(size)) for number in range(count)]
    request: dict[str, Any] = {"pairs": [(QUESTION, text) for text in texts], "options": {"batch_tokens": budget}}
    process.ask(request)
    whole = min(sum(process.ask(request)["seconds"]) for _ in range(_ROUNDS))
    replies = [process.ask({**request, "do": "stages"}) for _ in range(_ROUNDS)]
    windows = replies[0]["windows"]
    model = min(reply["stages"]["model"] for reply in replies)
    real = replies[0]["tokens"] * (1 - replies[0]["padding"])
    return real / windows, windows / whole, windows / model


if __name__ == "__main__":
    cli = parser(__doc__)
    cli.add_argument("bundle", type=Path)
    cli.add_argument("--precision", default="fp16")
    cli.add_argument("--engine", default="onnxruntime")
    cli.add_argument("--device", default="cuda")
    options = cli.parse_args()
    try:
        page = measure(options)
    except QaOnnxError as error:
        sys.exit(str(error))
    finish(page, options.json)
