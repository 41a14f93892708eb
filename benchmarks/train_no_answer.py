"""Measure how much of "no answer" a model forgets when it is fine-tuned on a few answerable questions.

    python benchmarks/train_no_answer.py models/minilm-squad squad-train.json.gz squad-dev-a-v2.json.gz

Makes the case of a user with 100 questions on 50 texts: of each of 50 articles a paragraph with two questions. A
model is withheld right if "no answer" leads the best answer by more than the null threshold of the default bundle.
That share is taken on unanswerable questions of the third file and on two more questions of each article, asked of
another of its paragraphs; before training, and after it with each share of negatives. All else is the default.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx import Example, Reader
from qa_onnx.data import squad
from qa_onnx.evaluation import metrics
from qa_onnx.export.parity import RunnerSession, torch_runner
from qa_onnx.machine.cpu import default_threads
from qa_onnx.train import TrainSettings, train
from qa_onnx.train.base import load_base
from qa_onnx.train.corpus import plain
from qa_onnx.train.questions import to_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.data.squad import Gold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("data", type=Path, help="with several paragraphs an article")
    parser.add_argument("dev", type=Path, help="with unanswerable questions")
    parser.add_argument("--articles", type=int, default=50)
    parser.add_argument("--limit", type=int, default=150, help="unanswerable questions of dev; 0.4 as many others")
    parser.add_argument("--negatives", type=float, nargs="*", default=[0.0, 0.1, 0.25, 0.5, 1.0])
    parser.add_argument(
        "--eval-limit", type=int, default=TrainSettings().eval_limit, help="0: keep the last weights"
    )
    parser.add_argument("--null-threshold", type=float, default=-1.41, help="of the default bundle")
    parser.add_argument("--max-length", type=int, default=384)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--seed", type=int, default=11)
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(chosen.threads)
    draw = random.Random(chosen.seed)
    few, unseen = cases(squad.load(chosen.data).golds, chosen.articles, draw)
    golds = squad.load(chosen.dev).golds
    unanswerable, answerable = (
        [gold for gold in golds if not gold.answers],
        [gold for gold in golds if gold.answers],
    )
    dev = draw.sample(unanswerable, min(chosen.limit, len(unanswerable)))
    dev += draw.sample(answerable, min(int(0.4 * chosen.limit), len(answerable)))
    print(f"{len(few)} questions on {chosen.articles} texts; checked on {len(dev)} of dev, {len(unseen)} unseen")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "few.jsonl")
        data.write_text(to_lines(few), encoding="utf-8")
        show("before", chosen.base, [dev, unseen], chosen)
        for share in chosen.negatives:
            settings = TrainSettings(negatives=share, eval_limit=chosen.eval_limit, max_length=chosen.max_length)
            record = train(chosen.base, [data], Path(folder, str(share)), settings=settings)
            counts = json.dumps(record["questions"]["counts"])
            show(f"negatives {share:g}: {counts}", str(Path(folder, str(share))), [dev, unseen], chosen)


def cases(golds: Sequence[Gold], articles: int, draw: random.Random) -> tuple[list[Gold], list[Gold]]:
    """Return two questions of one text of each article, and two more, asked of the text and of another one."""
    texts: dict[str, dict[str, list[Gold]]] = {}
    for gold in golds:
        texts.setdefault(gold.article, {}).setdefault(gold.context, []).append(gold)
    few: list[Gold] = []
    unseen: list[Gold] = []
    for article in draw.sample(list(texts), len(texts)):
        asked = [questions for questions in texts[article].values() if len(questions) >= 4]
        if len(asked) >= 2 and len(few) < 2 * articles:
            first, other = draw.sample(asked, 2)
            picked = draw.sample(first, 4)
            few += picked[:2]
            unseen += picked[2:]
            context = other[0].context
            unseen += [
                replace(gold, id=f"{gold.id}-none", context=context, answers=(), answer_starts=())
                for gold in picked[2:]
                if not any(plain(answer) in plain(context) for answer in gold.answers)
            ]
    return few, unseen


def show(label: str, model: str, sets: list[list[Gold]], chosen: argparse.Namespace) -> None:
    """Print the share of unanswerable questions that a model withholds, and its F1 on the others."""
    settings = TrainSettings(max_length=chosen.max_length)
    base = load_base(model, settings)
    session = RunnerSession(base.inputs, torch_runner(base.model.eval()))
    reader = Reader(session=session, windower=base.windower, pad_id=base.pad_id, options=settings.options())
    columns = []
    for golds in sets:
        withheld, f1 = [], []
        for gold, found in zip(
            golds, reader.predict(Example(gold.question, gold.context) for gold in golds), strict=True
        ):
            answer = found.choose(chosen.null_threshold)
            if gold.answers:
                f1.append(metrics.f1(answer.text, gold.answers))
            else:
                withheld.append(not answer)
        columns.append(f"withheld {sum(withheld) / len(withheld):6.1%}, F1 {100 * sum(f1) / len(f1):5.1f}")
    print(f"{label}: dev {columns[0]}; unseen {columns[1]}", flush=True)


if __name__ == "__main__":
    main()
