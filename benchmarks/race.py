"""Contenders on the same questions, text to answer, each in a process of its own, taking turns.

    python benchmarks/race.py --data dev.json --questions 400 --rounds 3 \
        --run "hf=envs/hf4/bin/python benchmarks/contenders/hf_pipeline.py models/minilm-squad torch 2" \
        --run "int8=python benchmarks/contenders/reader.py exported/my int8 onnxruntime 2"

The first contender is what the others are compared with. Who is not running is stopped (SIGSTOP): threads that
spin would spoil the others' time. Each round goes through the questions once, in parts; the order flips from
round to round. Reported: medians over rounds, the ratio of each round, exact match and F1.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qa_onnx import metrics, squad
from qa_onnx.bench.contender import Contender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.squad import Gold


@dataclass
class Runner:
    """A contender, its seconds in each round, and its answers of the last."""

    name: str
    contender: Contender
    seconds: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def ask(self, golds: Sequence[Gold]) -> tuple[float, list[str]]:
        """Seconds and answers, while all others are stopped."""
        reply = self.contender.ask({"pairs": [[gold.question, gold.context] for gold in golds]})
        return reply["seconds"], reply["answers"]


def race(runners: Sequence[Runner], golds: Sequence[Gold], rounds: int, part: int) -> None:
    for runner in runners:
        runner.ask(golds[:8])  # warm
    for number in range(rounds):
        for runner in runners:
            runner.seconds.append(0.0)
            runner.answers = []
        for at in range(0, len(golds), part):
            for runner in runners if number % 2 == 0 else runners[::-1]:
                seconds, answers = runner.ask(golds[at : at + part])
                runner.seconds[-1] += seconds
                runner.answers += answers


def report(runners: Sequence[Runner], golds: Sequence[Gold]) -> None:
    base = runners[0]
    print(f"{len(golds)} questions, {len(base.seconds)} rounds")
    print(f"{'contender':24} {'questions/s':>11} {'x ' + base.name:>10} {'of the rounds':>20} {'EM':>6} {'F1':>6}")
    for one in runners:
        ratios = [b / s for b, s in zip(base.seconds, one.seconds, strict=True)]
        exact = 100 * statistics.mean(
            metrics.exact_match(a, g.answers) for a, g in zip(one.answers, golds, strict=True)
        )
        f1 = 100 * statistics.mean(metrics.f1(a, g.answers) for a, g in zip(one.answers, golds, strict=True))
        rate = len(golds) / statistics.median(one.seconds)
        spread = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{one.name:24} {rate:11.1f} {statistics.median(ratios):10.2f} {spread:>20} {exact:6.2f} {f1:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", type=int, default=100, help="questions that one contender answers at a time")
    parser.add_argument("--run", action="append", required=True, metavar="NAME=COMMAND")
    chosen = parser.parse_args()
    golds = squad.load(chosen.data, limit=chosen.questions).golds
    with ExitStack() as stack:
        runners = []
        for text in chosen.run:
            name, _, command = text.partition("=")
            runners.append(Runner(name, stack.enter_context(Contender(name, shlex.split(command)))))
        race(runners, golds, chosen.rounds, chosen.part)
        report(runners, golds)


if __name__ == "__main__":
    main()
