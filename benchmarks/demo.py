"""The demo's race: the same questions through the same windows, in PyTorch and in a bundle.

PyTorch is given everything that the bundle has around the graph: this project's windows, batches sorted by
length and span search, so the ratio is that of the two engines alone. Each runs in a process of its own, and
they take turns, one round each, in alternating order; the figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from qa_onnx import Bundle, Example, Reader, Windower
from qa_onnx.machine import default_threads

ARTICLE = Path(__file__).parents[1] / "examples" / "lighthouse.txt"
QUESTIONS = (
    "Who designed the tower?",
    "When was the lamp lit for the first time?",
    "How many steps does the tower have?",
    "Who was the last keeper?",
    "What was the Concordia carrying?",
    "Where did the stone come from?",
    "How many pairs of kittiwakes breed on the rock?",
    "What was the first tower made of?",
    "When did the light become automatic?",
    "What does the kiosk sell?",
    "How far could the beam be seen?",
    "What was the name of the steam barge?",
)
ROUNDS = 7


def main() -> None:
    """Race, and print one line for each engine."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--serve", choices=["torch", "bundle"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(reader(arguments.serve, arguments.bundle, arguments.checkpoint))
    else:
        race(sys.argv[1:])


def race(arguments: list[str]) -> None:
    """Let both engines take turns and compare them."""
    names = ["torch", "bundle"]
    command = [sys.executable, __file__, *arguments, "--serve"]
    children = {
        name: subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in names
    }
    answers = {name: turn(child)["answers"] for name, child in children.items()}  # warm-up
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(ROUNDS):
        for name in names if number % 2 else reversed(names):
            seconds[name].append(turn(children[name])["seconds"])
    for child in children.values():
        child.communicate()
    rate = {name: len(QUESTIONS) / statistics.median(times) for name, times in seconds.items()}
    ratios = sorted(old / new for old, new in zip(seconds["torch"], seconds["bundle"], strict=True))
    same = sum(a == b for a, b in zip(answers["torch"], answers["bundle"], strict=True))
    print(f"PyTorch fp32       {rate['torch']:7.1f} questions a second")
    print(
        f"qa-onnx int8       {rate['bundle']:7.1f} questions a second: {statistics.median(ratios):.1f} x as fast "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f} over {ROUNDS} rounds), {default_threads()} threads each; "
        f"{same} of {len(QUESTIONS)} answers are the same"
    )


def turn(child: subprocess.Popen[str]) -> dict[str, Any]:
    """Have a child run one round."""
    assert child.stdin
    assert child.stdout
    child.stdin.write("go\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line:
        sys.exit(f"{child.args!r} stopped")
    result: dict[str, Any] = json.loads(line)
    return result


def serve(answering: Reader) -> None:
    """Run a round for each line of stdin."""
    article = ARTICLE.read_text(encoding="utf-8")
    examples = [Example(question, article) for question in QUESTIONS]
    for _ in sys.stdin:
        started = time.perf_counter()
        predictions = answering.predict(examples)
        seconds = time.perf_counter() - started
        answers = [prediction.choose(None).text for prediction in predictions]
        print(json.dumps({"seconds": seconds, "answers": answers}), flush=True)


def reader(engine: str, bundle: Path, checkpoint: Path) -> Reader:
    """A reader over the bundle's graph, or over the checkpoint in PyTorch."""
    if engine == "bundle":
        return Reader.load(bundle)
    import torch
    from transformers import AutoModelForQuestionAnswering
    from transformers.utils import logging

    from qa_onnx.export.parity import torch_runner

    logging.disable_progress_bar()
    torch.set_num_threads(default_threads())
    model = AutoModelForQuestionAnswering.from_pretrained(checkpoint, dtype=torch.float32).eval()
    manifest = Bundle.load(bundle).manifest

    class TorchSession:
        input_names = manifest.inputs
        run = staticmethod(torch_runner(model))

    return Reader(
        session=TorchSession(),
        windower=Windower(Bundle.load(bundle).text(manifest.tokenizer), cls_id=manifest.cls_id),
        pad_id=manifest.pad_id,
    )


if __name__ == "__main__":
    main()
