"""Compare compat="hf4" with the pipeline of transformers 4 itself, result by result.

    python benchmarks/hf4_parity.py --hf4 envs/hf4/bin/python --checkpoint models/minilm-squad \
        --data dev.json --questions 300

`--hf4` is the Python of an environment with transformers 4.57 and torch; this one has qa-onnx[export]. Calls vary:
long contexts, top_k, windows, unanswerable, no alignment, short contexts with more results asked than there are.
Prints every call whose results differ by more than `--tolerance`, and exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.data.squad import Gold

Case: TypeAlias = dict[str, Any]

ARGUMENTS: tuple[dict[str, Any], ...] = (
    {},
    {"top_k": 3},
    {"top_k": 20},
    {"handle_impossible_answer": True},
    {"handle_impossible_answer": True, "top_k": 5},
    {"align_to_words": False},
    {"align_to_words": False, "top_k": 4},
    {"max_answer_len": 1},
    {"max_answer_len": 40, "top_k": 2},
    {"max_seq_len": 96, "doc_stride": 32},
    {"max_seq_len": 128, "top_k": 5},
    {"max_seq_len": 100, "doc_stride": 0, "handle_impossible_answer": True},
    {"max_question_len": 4},
)


def cases(golds: Sequence[Gold]) -> list[Case]:
    """Return a call for each question, with alternating arguments; some contexts are long, some very short."""
    chance = random.Random(5)
    result = []
    for number, gold in enumerate(golds):
        context = gold.context
        if number % 5 == 1:
            context = "\n\n".join([context, *(other.context for other in chance.sample(list(golds), 4))])
        if number % 11 == 2:
            context = context[: chance.randint(1, 40)].strip() or "x"
        arguments = ARGUMENTS[number % len(ARGUMENTS)]
        result.append({"question": gold.question, "context": context, "arguments": arguments})
    return result


def call(asker: Callable[..., Any], one: Case) -> Any:
    """Return the result of a call, or the name and text of its exception."""
    try:
        return asker(question=one["question"], context=one["context"], **one["arguments"])
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # any exception is the result, also a tokenizer's panic
        return {"error": f"{type(error).__name__}: {error}"}


def answer_as_hf4(checkpoint: str) -> None:
    """Answer the cases on stdin, and print their results; runs in the other environment."""
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline

    model = AutoModelForQuestionAnswering.from_pretrained(checkpoint, torch_dtype=torch.float32)
    asker = pipeline("question-answering", model=model, tokenizer=AutoTokenizer.from_pretrained(checkpoint))
    json.dump([call(asker, one) for one in json.load(sys.stdin)], sys.stdout)


def difference(ours: Any, theirs: Any, tolerance: float) -> str:
    """Return the difference, or an empty text. Neighbours with equal scores, within tolerance, may swap places."""
    if isinstance(ours, dict) != isinstance(theirs, dict):
        return f"one result, the other a list: {ours} {theirs}"
    rows, expected = ([result] if isinstance(result, dict) else result for result in (ours, theirs))
    if "error" in {*rows[0], *expected[0]} if rows and expected else False:
        return "" if "error" in rows[0] and "error" in expected[0] else f"{rows[0]} {expected[0]}"
    if len(rows) != len(expected):
        return f"{len(rows)} results, {len(expected)} expected: {rows} {expected}"
    left = list(rows)
    for place, wanted in enumerate(expected):
        same = [
            row
            for row in left
            if all(row[key] == wanted[key] for key in ("start", "end", "answer"))
            and abs(row["score"] - wanted["score"]) <= tolerance
            and abs(rows[place]["score"] - wanted["score"]) <= tolerance
        ]
        if not same:
            return f"place {place}: {rows[place]}, expected {wanted}"
        left.remove(same[0])
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--hf4", metavar="PYTHON", help="of an environment with transformers 4; required")
    parser.add_argument("--data", metavar="FILE", help="questions; required")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--as-hf4", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.as_hf4:
        answer_as_hf4(chosen.checkpoint)
        return
    if not (chosen.hf4 and chosen.data):
        parser.error("name the Python of an environment with transformers 4 by --hf4, and questions by --data")
    from qa_onnx import pipeline
    from qa_onnx.data import squad

    calls = cases(squad.load(chosen.data, limit=chosen.questions).golds)
    command = [chosen.hf4, str(Path(__file__).resolve()), "--as-hf4", "--checkpoint", chosen.checkpoint]
    done = subprocess.run(
        command, input=json.dumps(calls), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    )
    asker = pipeline("question-answering", model=chosen.checkpoint, compat="hf4")
    wrong = 0
    worst = 0.0
    for one, theirs in zip(calls, json.loads(done.stdout), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = call(asker, one)
        result = difference(ours, theirs, chosen.tolerance)
        if result:
            wrong += 1
            print(f"{one['arguments']} {one['question']!r}: {result}")
        elif isinstance(ours, dict) and "score" in ours:
            worst = max(worst, abs(ours["score"] - theirs["score"]))
    print(f"{len(calls)} calls, {wrong} differ; best scores within {worst:.1e} of each other")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
