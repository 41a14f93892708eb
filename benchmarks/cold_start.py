"""Cold start: from starting Python to the first answer, and the memory that it takes, beside PyTorch.

    python benchmarks/cold_start.py models/minilm-squad

Both run in fresh processes, alternating; medians over the rounds. The files are in the system's cache
after the first, discarded, round.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from pages import Page, finish, parser

ROUNDS, QUICK = 7, 2
QUESTION, CONTEXT = "What colour is the boat?", "The boat is blue and the sail is white."

OURS = f"""
from qa_onnx import Reader
print(Reader.load().ask({QUESTION!r}, {CONTEXT!r}).text)
"""

THEIRS = f"""
import sys
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForQuestionAnswering.from_pretrained(sys.argv[1], dtype=torch.float32)
inputs = tokenizer({QUESTION!r}, {CONTEXT!r}, return_tensors="pt")
with torch.inference_mode():
    out = model(**inputs)
first, last = int(out.start_logits.argmax()), int(out.end_logits.argmax())
print(tokenizer.decode(inputs["input_ids"][0, first : last + 1]))
"""


def measure(checkpoint: str, rounds: int) -> Page:
    """Measure both, alternating."""
    ways = {"qa-onnx, default bundle": OURS, "transformers and PyTorch, fp32": THEIRS}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, int] = dict.fromkeys(ways, 0)
    for number in range(rounds + 1):
        for name in ways if number % 2 else reversed(ways):
            took, peak = run(ways[name], checkpoint)
            if number:
                seconds[name].append(took)
            memory[name] = max(memory[name], peak)
    return Page(
        title="Cold start: from starting Python to the first answer",
        head=("way", "s, median", "s, fastest", "peak MB"),
        rows=tuple(
            (name, f"{statistics.median(times):.2f}", f"{min(times):.2f}", f"{memory[name]:,}")
            for name, times in seconds.items()
        ),
        notes=(f"fresh processes, alternating, {rounds} rounds; the files are in the system's cache",),
    )


def run(code: str, checkpoint: str) -> tuple[float, int]:
    """Run code in a fresh Python; return its seconds and peak resident megabytes."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", code, checkpoint], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout
    answer = child.stdout.read().strip()
    _, status, usage = os.wait4(child.pid, 0)
    took = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if answer != "blue":
        sys.exit(f"the answer should be blue, it is {answer!r}; does {checkpoint} name a checkpoint folder?")
    return took, usage.ru_maxrss * 1024 // 1_000_000  # kilobytes on Linux


if __name__ == "__main__":
    cli = parser(__doc__)
    cli.add_argument("checkpoint", nargs="?", default=str(Path(__file__).parents[1] / "models" / "minilm-squad"))
    cli.add_argument("--rounds", type=int, help=f"[default: {ROUNDS}, quick {QUICK}]")
    chosen = cli.parse_args()
    wanted = (QUICK if chosen.quick else ROUNDS) if chosen.rounds is None else chosen.rounds
    if wanted < 1:
        cli.error(f"--rounds is {wanted}; it must be at least 1")
    finish(measure(chosen.checkpoint, wanted), chosen.json)
