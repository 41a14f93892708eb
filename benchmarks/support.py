"""Does a document support a claim? Verdicts on claims that are made of SQuAD, and how often they are wrong.

    python benchmarks/support.py dev.json --json benchmarks/results/support.json
    python benchmarks/support.py train.json --articles Gene Hydrogen

claims.py makes the claims. Each is compared with one article, all paragraphs as one document. The least scores of
the package were chosen in the second form, with the articles that the default model was not trained on.
Beside the model two ways without one are measured on the same passages: the share of the claim's words that one
sentence has, and the same where all parts of the claim must stand in the sentence or its neighbours.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from claims import TRUTHS, Claim, ClaimSet, make_claims
from pages import Page, command, parser, write

from qa_onnx import Reader
from qa_onnx.data import squad
from qa_onnx.documents.document import Document
from qa_onnx.documents.sentences import sentences
from qa_onnx.evaluation.metrics import f1
from qa_onnx.machine import cpu
from qa_onnx.retrieval import PassageIndex
from qa_onnx.retrieval.support import DIFFERS, SUPPORTED, Support, support
from qa_onnx.retrieval.support_parts import is_negated, parts_of, stands_in, stems

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from qa_onnx.data.gold import Gold
    from qa_onnx.retrieval import Passage

LEAST_SCORES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
PRECISIONS = (0.9, 0.85, 0.8, 0.7, 0.6)
READ = 4  # passages: the default of `support`


@dataclass(frozen=True)
class Judged:
    """A claim, what the package says of it, and the scores of the ways without a model."""

    claim: Claim
    result: Support
    words: float
    words_and_parts: float

    @property
    def is_true(self) -> bool:
        """Whether the article supports it."""
        return self.claim.truth == "true"

    @property
    def agreeing(self) -> float:
        """The score of the best answer that agrees; 0: there is none."""
        return self.result.agreeing.score if self.result.agreeing else 0.0

    @property
    def differing(self) -> float:
        """The score of the best answer that differs; 0: there is none."""
        return self.result.differing.score if self.result.differing else 0.0


def judge_all(claims: Sequence[Claim], golds: Sequence[Gold], reader: Reader) -> tuple[list[Judged], list[float]]:
    """Return what becomes of each claim, and the seconds that each took."""
    texts: dict[str, dict[str, None]] = {}
    for gold in golds:
        texts.setdefault(gold.article, {})[gold.context] = None
    indexes = {name: PassageIndex.of([Document(name, "\n\n".join(parts))]) for name, parts in texts.items()}
    judged, seconds = [], []
    for claim in claims:
        index = indexes[claim.article]
        started = time.perf_counter()
        result = support(reader, claim.text, index, read=READ)
        seconds.append(time.perf_counter() - started)
        judged.append(Judged(claim, result, *without_model(claim.text, index.search(claim.text, READ))))
    return judged, seconds


def without_model(claim: str, passages: Sequence[Passage]) -> tuple[float, float]:
    """Return the largest share of the claim's words in a sentence: of all, and of those with all parts near.

    Sentences with a "not" where the claim has none, and the other way round, are left out, as with the model.
    """
    words, parts = stems(claim), parts_of(claim)
    best = best_with_parts = 0.0
    for passage in passages:
        texts = [passage.text[start:end] for start, end in sentences(passage.text)]
        for at, text in enumerate(texts):
            if is_negated(text) != is_negated(claim):
                continue
            share = len(words & stems(text)) / max(1, len(words))
            best = max(best, share)
            near = " ".join(texts[max(0, at - 1) : at + 2])
            if share > best_with_parts and all(stands_in(part, near) for part in parts):
                best_with_parts = share
    return best, best_with_parts


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""


def confusion(judged: Sequence[Judged]) -> Page:
    """Return the verdicts by the truth of the claims."""
    rows = []
    for truth in TRUTHS:
        some = [one for one in judged if one.claim.truth == truth]
        verdicts = Counter(one.result.verdict for one in some)
        shown = [one for one in some if one.result.verdict == "differs"]
        right = sum(
            bool(one.result.answer and f1(one.result.answer.text, one.claim.answers) >= 0.5) for one in shown
        )
        counts = (verdicts["supported"], verdicts["differs"], verdicts["not found"])
        rows.append(
            (truth, str(len(some)), *(f"{count} ({percent(count, len(some))} %)" for count in counts), str(right))
        )
    supported = [one for one in judged if one.result.verdict == "supported"]
    differs = [one for one in judged if one.result.verdict == "differs"]
    true = sum(one.is_true for one in judged)
    really = sum(one.is_true for one in supported)
    wrong = sum(not one.is_true and one.claim.truth != "another article" for one in differs)
    return Page(
        title="Verdicts by what is true of the claim",
        head=("claim", "n", "supported", "differs", "not found", "differs, and shows the right answer"),
        rows=tuple(rows),
        notes=(
            f"{true} of {len(judged)} claims are true, {really} of the {len(supported)} supported ones: precision "
            f"{percent(really, len(supported))} %, recall {percent(really, true)} %",
            f"{wrong} of the {len(differs)} that differ are altered or negated: precision "
            f"{percent(wrong, len(differs))} %",
        ),
    )


def least_scores(judged: Sequence[Judged]) -> Page:
    """Return precision and recall of both verdicts by the score that they need."""
    true = sum(one.is_true for one in judged)
    changed = [one for one in judged if one.claim.truth not in {"true", "another article"}]
    rows = []
    for least in LEAST_SCORES:
        chosen = [one for one in judged if one.agreeing >= least]
        differs = [one for one in judged if one.agreeing < SUPPORTED and one.differing >= least]
        hits = sum(one in changed for one in differs)
        really = sum(one.is_true for one in chosen)
        rows.append(
            (
                f"{least:.1f}",
                percent(really, len(chosen)),
                percent(really, true),
                percent(hits, len(differs)),
                percent(hits, len(changed)),
            )
        )
    return Page(
        title="Precision and recall by the least score",
        head=("least score", "supported: precision %", "recall %", "differs: precision %", "recall %"),
        rows=tuple(rows),
        notes=(f"the package asks {SUPPORTED} of supported claims and {DIFFERS} of those that differ",),
    )


def kinds(judged: Sequence[Judged]) -> Page:
    """Return precision and recall by the kind of the answer that the claims are made with."""
    rows = []
    for kind in sorted({one.claim.kind for one in judged}):
        some = [one for one in judged if one.claim.kind == kind]
        true = [one for one in some if one.is_true]
        supported = [one for one in some if one.result.verdict == "supported"]
        really = sum(one.is_true for one in supported)
        rows.append(
            (kind, str(len(some)), str(len(true)), percent(really, len(supported)), percent(really, len(true)))
        )
    return Page(
        title="Supported claims by the kind of answer",
        head=("answer", "claims", "true", "precision %", "recall %"),
        rows=tuple(rows),
    )


def ways(judged: Sequence[Judged]) -> Page:
    """Return the recall of true claims at some precisions, with the model and without it."""
    scores: dict[str, Callable[[Judged], float]] = {
        "the model's answers": lambda one: one.agreeing,
        "words of a sentence": lambda one: one.words,
        "words of a sentence, all parts near": lambda one: one.words_and_parts,
    }
    rows = tuple(
        (name, *(recall_at(precision, [(score(one), one.is_true) for one in judged]) for precision in PRECISIONS))
        for name, score in scores.items()
    )
    return Page(
        title="Recall of true claims at a precision of supported ones",
        head=("way", *(f"% at {100 * precision:.0f} %" for precision in PRECISIONS)),
        rows=rows,
        notes=("the least score is the best one for these claims, so all ways look better than they are",),
    )


def recall_at(precision: float, scored: Sequence[tuple[float, bool]]) -> str:
    """Return the highest share of the true ones, in percent, that a least score finds with this precision."""
    true = sum(is_true for _, is_true in scored)
    best = 0
    for least in {score for score, _ in scored if score > 0}:
        chosen = [is_true for score, is_true in scored if score >= least]
        if sum(chosen) >= precision * len(chosen):
            best = max(best, sum(chosen))
    return percent(best, true)


def measure(chosen: Namespace) -> None:
    golds = squad.load(chosen.data).golds
    if chosen.articles:
        golds = tuple(gold for gold in golds if gold.article in chosen.articles)
    made: ClaimSet = make_claims(golds, chosen.questions, chosen.seed)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    reader = Reader.load(chosen.bundle, precision=chosen.precision, threads=chosen.threads)
    judged, seconds = judge_all(made.claims, golds, reader)
    notes = (
        f"{len(made.claims):,} claims of {made.used:,} questions; the rules can turn {made.usable:,} of "
        f"{made.questions:,} questions",
        f"{reader.precision} on {reader.backend}, {cpu.cpu_model()}; a claim took "
        f"{1000 * statistics.median(seconds):.0f} ms (median), {READ} passages; "
        f"load of the machine before the start: {load}",
    )
    repeat = command(without={"--json": chosen.json})
    pages = [make(judged) for make in (confusion, least_scores, kinds, ways)]
    pages = [replace(page, notes=(*page.notes, *notes), command=repeat) for page in pages]
    print("\n\n".join(page.text() for page in pages))
    if chosen.json:
        write(chosen.json, json.dumps([asdict(page) for page in pages], indent=1, ensure_ascii=False) + "\n")


def main(words: Sequence[str] | None = None) -> None:
    cli = parser(__doc__)
    cli.add_argument("data", type=Path, help="questions with answers, in any form")
    cli.add_argument("--articles", nargs="+", metavar="TITLE", help="only questions of these articles")
    cli.add_argument("--questions", type=int, default=150, help="of which claims are made  [default: 150]")
    cli.add_argument("--seed", type=int, default=0, help="of the random choices  [default: 0]")
    cli.add_argument("--bundle", type=Path, help="[default: the one that comes with qa-onnx]")
    cli.add_argument("--precision")
    cli.add_argument("--threads", type=int)
    chosen = cli.parse_args(words)
    if chosen.quick:
        chosen.questions = 8
    if chosen.questions < 1:
        cli.error("--questions must be at least 1")
    measure(chosen)


if __name__ == "__main__":
    main()
