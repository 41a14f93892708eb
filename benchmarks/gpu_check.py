"""Check everything that this project claims about GPUs, on a machine that has one: `make gpu`.

First the tests marked `gpu`; then parity and speed of CUDA and TensorRT beside the CPU, with the default
checkpoint (exported first if need be). Each row is measured in a process of its own. Speed is end to end, in
questions a second, the best of a few rounds over the project's own questions, at each of several token budgets of
a batch; parity is with fp32 on the CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from bundles import exported

from qa_onnx import Example, QaOnnxError, Reader
from qa_onnx.bench.questions import load_questions
from qa_onnx.data import squad
from qa_onnx.engines.names import Backend
from qa_onnx.engines.sessions import check_usable

ROOT = Path(__file__).parents[1]
COMPARED = 24  # questions whose logits and answers are
WORDS = 400  # of a text that speed is measured on, at most
BUDGETS = (1024, 4096, 16384)
ROUNDS = 5
# What runs: engine, device, precision, and whether it takes the bundle without fused operators.
ROWS = (
    ("onnxruntime", "cpu", "fp32", False),
    ("onnxruntime", "cuda", "fp32", False),
    ("onnxruntime", "cuda", "fp16", False),
    ("tensorrt", "cuda", "fp32", True),
    ("tensorrt", "cuda", "fp16", True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "models" / "minilm-squad")
    parser.add_argument("--questions", type=int, default=1200, help="a round  [default: 1200]")
    parser.add_argument("--measure", nargs=4, metavar=("BUNDLE", "ENGINE", "DEVICE", "PRECISION"))
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure, questions=arguments.questions)))
        return 0
    try:
        check_usable(Backend("onnxruntime", "cuda"))
    except QaOnnxError as error:
        print(f"no GPU to check: {error}", file=sys.stderr)
        return 1
    tests = subprocess.run([sys.executable, "-m", "pytest", "-m", "gpu", "-q"], cwd=ROOT, check=False).returncode
    try:
        bundles = {plain: bundle_of(arguments.checkpoint, plain=plain) for plain in (False, True)}
    except QaOnnxError as error:
        print(error, file=sys.stderr)
        return 1
    failed = show(bundles, arguments.questions)
    return 1 if tests or failed else 0


def bundle_of(checkpoint: Path, *, plain: bool) -> Path:
    """Return the bundle with, or without, fused operators."""
    options = ["--no-fusion"] if plain else []
    return exported(checkpoint, [*options, "--precision", "fp32", "--precision", "fp16"])


def show(bundles: dict[bool, Path], questions: int) -> bool:
    """Measure and print every row; return True if one failed that must work, which TensorRT need not."""
    failed = False
    reference: dict[str, Any] | None = None
    print(f"{'':28} {'start':>8} {'logits off':>10} {'same':>7}", *(f"{budget:>9}" for budget in BUDGETS))
    for engine, device, precision, plain in ROWS:
        name = f"{engine}/{device} {precision}"
        result = row(bundles[plain], engine, device, precision, questions)
        if isinstance(result, str):
            failed = failed or engine != "tensorrt"
            print(f"{name:28} {result}")
            continue
        reference = result if reference is None else reference
        off = np.abs(np.array(result["logits"]) - np.array(reference["logits"])).max()
        same = sum(map(list.__eq__, result["spans"], reference["spans"])) / len(reference["spans"])
        speeds = (f"{result['speed'][str(budget)]:9.0f}" for budget in BUDGETS)
        print(f"{name:28} {result['start']:7.1f}s {off:10.2g} {same:7.1%}", *speeds)
    print(f"{'':28} questions a second, text to answer, by tokens a batch: {', '.join(map(str, BUDGETS))}")
    return failed


def row(bundle: Path, engine: str, device: str, precision: str, questions: int) -> dict[str, Any] | str:
    """Measure a row in a process of its own; return the result, or the last line of the error."""
    command = [sys.executable, __file__, "--questions", str(questions)]
    command += ["--measure", str(bundle), engine, device, precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return (done.stderr.strip() or "it failed without a message").splitlines()[-1]
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure(bundle: str, engine: Any, device: Any, precision: str, *, questions: int) -> dict[str, Any]:
    """Measure answers and speed of one row.

    Returns:
        start: seconds to load and answer once; logits: of all windows, one after the other; spans: of the
        answers, in characters; speed: by token budget.
    """
    started = time.perf_counter()
    reader = Reader.load(bundle, engine=engine, device=device, precision=precision)
    reader.ask("What colour is the boat?", "The boat is blue and the sail is white.")
    start = time.perf_counter() - started
    if str(reader.backend) != f"{engine}/{device}":
        raise SystemExit(f"{engine}/{device} was requested, {reader.backend} was used")
    golds = squad.sample(load_questions().golds, COMPARED, seed=0)
    compared = [Example(gold.question, gold.context) for gold in golds]
    repeated = itertools.cycle(
        Example(gold.question, gold.context) for gold in load_questions(most_words=WORDS).golds
    )
    many = list(itertools.islice(repeated, questions))
    speed = {}
    for budget in BUDGETS:
        options = dataclasses.replace(reader.options, batch_tokens=budget, n_best=1)
        seconds(reader, many[:COMPARED], options)
        speed[str(budget)] = max(questions / seconds(reader, many, options) for _ in range(ROUNDS))
    answers = [reader.choose(prediction) for prediction in reader.predict(compared)]
    return {
        "start": start,
        "logits": [x for window in reader.logits(compared) for logits in window[1:] for x in logits.tolist()],
        "spans": [(answer.start, answer.end) for answer in answers],
        "speed": speed,
    }


def seconds(reader: Reader, examples: list[Example], options: Any) -> float:
    """Return the seconds to answer, with empty caches."""
    reader.steps.windower.forget()
    started = time.perf_counter()
    predictions = reader.predict(examples, options=options)
    elapsed = time.perf_counter() - started
    if len(predictions) != len(examples):
        raise SystemExit(f"{len(examples)} questions, {len(predictions)} predictions")
    return elapsed


if __name__ == "__main__":
    sys.exit(main())
