"""Compare training speed and peak memory with transformers' Trainer with its defaults.

    pip install accelerate
    python benchmarks/train_speed.py BASE squad-train.json.gz --examples 640 --threads 2 --rounds 2

    python benchmarks/train_speed.py BASE squad-train.json.gz --examples 16000 --eval-data dev.json

Each contender runs in a process of its own, in alternating order. All train on the same
windows with the same targets, as many of them, and only training is timed. The Trainer has its defaults (batches
of 8, AdamW, 5e-5, the model's dropout of 0.1), once with windows padded to the full length, as transformers' guide
to question answering has it, and once padded to the longest of a batch. With --eval-data, F1 of what each has
learned.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.data import squad
from qa_onnx.machine.cpu import default_threads
from qa_onnx.train import TrainSettings
from qa_onnx.train.corpus import Tally
from qa_onnx.train.questions import Questions

if TYPE_CHECKING:
    from qa_onnx.train.job import TrainingJob

NAMES = {
    "ours": "qa-onnx train",
    "guide": "Trainer, windows padded to max_length",
    "longest": "Trainer, padded to the longest of a batch",
}
QUESTIONS = 4_000  # read at least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("data", type=Path)
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--max-length", type=int, help="of a window, in tokens [default: that of qa-onnx train]")
    parser.add_argument("--batch-size", type=int, help="of qa-onnx train [default: its own]")
    parser.add_argument("--learning-rate", type=float, help="of qa-onnx train [default: its own]")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--eval-data", type=Path)
    parser.add_argument("--eval-limit", type=int, default=1000)
    parser.add_argument("--alone", action="store_true", help="without the Trainer, which needs accelerate")
    parser.add_argument("--one", choices=NAMES, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(train_one(chosen)))
    else:
        race(chosen)


def race(chosen: argparse.Namespace) -> None:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES if name == "ours" or not chosen.alone}
    for number in range(chosen.rounds):
        for name in results if number % 2 == 0 else reversed(results):
            child = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--one", name], stdout=subprocess.PIPE, check=False
            )
            if child.returncode:
                sys.exit(f"{NAMES[name]} ended with exit code {child.returncode}")
            results[name].append(json.loads(child.stdout.splitlines()[-1]))
            print(name, results[name][-1], flush=True)
    ours = results["ours"]
    print(f"{chosen.examples} examples, {chosen.threads} threads, {chosen.rounds} rounds: medians")
    for name, runs in results.items():
        rate = statistics.median(run["rate"] for run in runs)
        ratios = [one["rate"] / other["rate"] for one, other in zip(ours, runs, strict=True)]
        cpu = [other["cpu"] / one["cpu"] for one, other in zip(ours, runs, strict=True)]
        peak = max(run["peak"] for run in runs)
        f1 = "" if "f1" not in runs[0] else f", F1 {runs[0]['f1']:.2f}"
        print(
            f"{NAMES[name]:42} {rate:6.2f} examples/s, peak {peak:5.0f} MB{f1}; qa-onnx is "
            f"{statistics.median(ratios):.2f} x as fast, {statistics.median(cpu):.2f} x by processor time"
        )


def train_one(chosen: argparse.Namespace) -> dict[str, float]:
    """Train as one contender does; return rate, CPU seconds, peak memory, and F1 with --eval-data."""
    import torch

    from qa_onnx.train.evaluations import score

    torch.set_num_threads(chosen.threads)
    training = job(chosen)
    started, processor = time.perf_counter(), time.process_time()
    if chosen.one == "ours":
        ours(training)
    else:
        trainer(training, chosen.base, chosen.examples, full=chosen.one == "guide")
    seconds, used = time.perf_counter() - started, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    figures = {"rate": chosen.examples / seconds, "cpu": used / chosen.examples, "peak": peak}
    if chosen.eval_data:
        training.base.model.to(training.device.device)
        data = squad.load(chosen.eval_data, limit=chosen.eval_limit)
        figures["f1"] = score(training.base, training.device, data, training.settings.options())["f1"]
    return figures


def job(chosen: argparse.Namespace) -> TrainingJob:
    """Return the windows that all contenders train on, and the model."""
    from qa_onnx.train.base import choose_device, load_base
    from qa_onnx.train.job import TrainingJob
    from qa_onnx.train.targets import build

    golds = squad.load(chosen.data, limit=max(QUESTIONS, chosen.examples)).golds
    tally = Tally()
    settings = TrainSettings(save_every_s=1e6, device=chosen.device, learning_rate=chosen.learning_rate)
    limits = {"batch_size": chosen.batch_size, "max_length": chosen.max_length}
    limits = {name: value for name, value in limits.items() if value is not None}
    settings = dataclasses.replace(settings, **limits)
    base = load_base(chosen.base, settings)
    features = build(golds, base.windower, settings.options(), tally=tally, seed=0)
    settings = dataclasses.replace(settings, epochs=chosen.examples / len(features))
    return TrainingJob(
        settings, base, Questions((), golds, None, own=True), features, choose_device(settings), tally
    )


def ours(training: TrainingJob) -> None:
    from qa_onnx.train.state import State
    from qa_onnx.train.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        Trainer(training, folder=Path(folder), state=State({})).run()


def trainer(training: TrainingJob, base: str, examples: int, *, full: bool) -> None:
    import torch
    from transformers import (
        AutoModelForQuestionAnswering,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        default_data_collator,
    )

    features, tokenizer = training.features, training.base.tokenizer
    length = training.settings.max_length

    class Rows:
        def __len__(self) -> int:
            return len(features)

        def __getitem__(self, index: int) -> dict[str, Any]:
            (ids,), (types,) = features.rows([index])
            start, end = features.spans[index][:2].tolist()
            row = {"input_ids": ids.tolist(), "token_type_ids": types.tolist(), "attention_mask": [1] * len(ids)}
            if full:
                row = dict(tokenizer.pad(row, padding="max_length", max_length=length))
            return {**row, "start_positions": start, "end_positions": end}

    # The Trainer's model keeps its dropout; its weights, a fresh head's too, are those that we start from.
    model = AutoModelForQuestionAnswering.from_pretrained(base, dtype=torch.float32)
    model.load_state_dict(training.base.model.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=examples // 8,
                save_strategy="no",
                report_to="none",
                use_cpu=training.device.device == "cpu",
                disable_tqdm=True,
            ),
            train_dataset=Rows(),
            data_collator=default_data_collator if full else DataCollatorWithPadding(tokenizer),
        ).train()
    training.base.model.load_state_dict(model.state_dict())


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
