"""Questions that have several answers: how many of them are found, and how many of what is found is wrong.

    python benchmarks/all_answers.py dev.json [--questions N]

Makes such questions of a file of SQuAD: the sentence that holds the answer is written again, once or twice, with
another answer of the same kind (a number for a number, a name for a name) from another paragraph of the article.
The copies stand at the end of other paragraphs ("apart") or of the same one ("together"). "One" is the question
and its paragraph with another one, "none" another one alone. Copies may be false; only their places matter here.
"""

from __future__ import annotations

import random
import re
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pages import Page, finish, parser

from qa_onnx import Reader
from qa_onnx.data import squad
from qa_onnx.documents import Document
from qa_onnx.documents.sentences import sentences
from qa_onnx.machine import cpu
from qa_onnx.retrieval import ask_all

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from qa_onnx.data.gold import Gold

LEAST = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
FORMS = ("apart", "together", "one", "none")
_LONGER = 2  # words by which another answer may be longer or shorter


@dataclass(frozen=True)
class Case:
    """A question on a text.

    Attributes:
        form: one of `FORMS`.
        question: as in the file.
        text: to find its answers in.
        places: the characters of each answer, start and end, in all the forms that annotators chose.
    """

    form: str
    question: str
    text: str
    places: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class Found:
    """An answer that a way found: its probability, and the answers of the case that it overlaps."""

    probability: float
    hits: frozenset[int]


def kind(answer: str) -> str:
    if re.search(r"\d", answer):
        return "number"
    return "name" if answer[:1].isupper() else "words"


def make_cases(path: Path, count: int) -> list[Case]:
    """Make the cases of so many questions, in all forms."""
    draw = random.Random(0)
    golds = [gold for gold in squad.load(path).golds if gold.answers and gold.answer_starts[0] >= 0]
    articles: dict[str, list[Gold]] = {}
    for gold in golds:
        articles.setdefault(gold.article, []).append(gold)
    draw.shuffle(golds)
    cases: list[Case] = []
    done = 0
    for gold in golds:
        if made := _cases_of(gold, articles[gold.article], 1 + done % 2, draw):
            cases += made
            done += 1
        if done == count:
            break
    return cases


def _cases_of(gold: Gold, article: Sequence[Gold], copies: int, draw: random.Random) -> list[Case]:
    """Return a question in all forms; nothing where the article has too few answers of the kind."""
    answer, start = gold.answers[0], gold.answer_starts[0]
    sentence = next((place for place in sentences(gold.context) if place[0] <= start < place[1]), None)
    others = [other for other in article if _may_replace(other, gold)]
    different = list({other.answers[0].casefold(): other for other in others}.values())
    paragraphs = [other for other in article if answer.casefold() not in other.context.casefold()]
    if sentence is None or start + len(answer) > sentence[1] or len(different) < copies or not paragraphs:
        return []
    own = tuple((at, at + len(text)) for text, at in zip(gold.answers, gold.answer_starts, strict=True))
    before, after = gold.context[sentence[0] : start], gold.context[start + len(answer) : sentence[1]]
    apart, together = gold.context, gold.context
    places_apart, places_together = [own], [own]
    for other in draw.sample(different, copies):
        new = other.answers[0]
        copy = f"{before.replace(answer, new)}{new}{after.replace(answer, new)}"
        at = len(before.replace(answer, new))
        apart = f"{apart}\n\n{other.context.rstrip()} "
        places_apart.append(((len(apart) + at, len(apart) + at + len(new)),))
        apart += copy
        together = f"{together.rstrip()} "
        places_together.append(((len(together) + at, len(together) + at + len(new)),))
        together += copy
    another = draw.choice(paragraphs).context
    return [
        Case("apart", gold.question, apart, tuple(places_apart)),
        Case("together", gold.question, together, tuple(places_together)),
        Case("one", gold.question, f"{gold.context}\n\n{another}", (own,)),
        Case("none", gold.question, another, ()),
    ]


def _may_replace(other: Gold, gold: Gold) -> bool:
    """Whether another question's answer can stand for that of a question, and the other's paragraph lacks it."""
    old, new = gold.answers[0], other.answers[0]
    return (
        other.context != gold.context
        and kind(new) == kind(old)
        and abs(len(new.split()) - len(old.split())) <= _LONGER
        and new.casefold() not in gold.context.casefold()
        and old.casefold() not in other.context.casefold()
    )


def hits(case: Case, start: int, end: int) -> frozenset[int]:
    return frozenset(
        number
        for number, forms in enumerate(case.places)
        if any(start < stop and first < end for first, stop in forms)
    )


def of_whole_text(reader: Reader, cases: Sequence[Case]) -> list[list[Found]]:
    """Return the distinct answers of each text, read as a whole; none where "no answer" leads by the threshold."""
    options = replace(reader.options, n_best=20)
    found = []
    for case, prediction in zip(
        cases, reader.predict([(case.question, case.text) for case in cases], options=options), strict=True
    ):
        answers = prediction.answers if reader.choose(prediction, options=options) else ()
        found.append([Found(one.probability, hits(case, one.start, one.end)) for one in answers])
    return found


def of_passages(reader: Reader, cases: Sequence[Case]) -> list[list[Found]]:
    """Return the answers of all passages of each text."""
    options = replace(reader.options, min_probability=LEAST[0])
    return [
        [
            Found(one.probability, hits(case, one.start, one.end))
            for one in ask_all(
                reader, case.question, [Document("text", case.text)], read=None, options=options
            ).answers
        ]
        for case in cases
    ]


def rows(name: str, cases: Sequence[Case], found: Sequence[Sequence[Found]]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a way: precision, recall and F1 over the questions of a form."""
    for least in (None, *LEAST):
        cells = []
        for form in FORMS:
            chosen = [
                (case, every[:1] if least is None else [one for one in every if one.probability >= least])
                for case, every in zip(cases, found, strict=True)
                if case.form == form
            ]
            if form == "none":
                cells.append(f"{100 * statistics.fmean(not some for _, some in chosen):.1f}")
                continue
            right = sum(bool(one.hits) for _, some in chosen for one in some)
            reached = sum(len(frozenset().union(*(one.hits for one in some))) for _, some in chosen)
            precision = right / max(1, sum(len(some) for _, some in chosen))
            recall = reached / sum(len(case.places) for case, _ in chosen)
            f1 = 2 * precision * recall / max(1e-9, precision + recall)
            cells.append(" / ".join(f"{100 * value:.1f}" for value in (precision, recall, f1)))
        yield (name, "best alone" if least is None else f"{least}", *cells)


def measure(chosen: Namespace) -> Page:
    """Return the page with all ways."""
    reader = Reader.load(chosen.bundle, precision=chosen.precision, threads=chosen.threads)
    cases = make_cases(chosen.data, chosen.questions)
    table = [
        *rows("text as a whole", cases, of_whole_text(reader, cases)),
        *rows("by passages", cases, of_passages(reader, cases)),
    ]
    several = sum(len(case.places) for case in cases if case.form == "apart")
    return Page(
        title="Questions with several answers: precision / recall / F1, %",
        head=("read", "least probability", *FORMS[:3], "none: withheld"),
        rows=tuple(table),
        notes=(
            f"{chosen.data.name}: {len(cases) // len(FORMS)} questions, each in four forms; {several} "
            "answers in those that have several",
            f"{reader.precision} on {reader.backend}, {cpu.cpu_model()}",
        ),
    )


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("data", type=Path, help="with several paragraphs an article")
    cli.add_argument("--questions", type=int, default=600, help="[default: 600]")
    cli.add_argument("--bundle", type=Path, help="[default: the one that comes with qa-onnx]")
    cli.add_argument("--precision")
    cli.add_argument("--threads", type=int)
    chosen = cli.parse_args()
    if chosen.quick:
        chosen.questions = 4
    if chosen.questions < 1:
        cli.error("--questions must be at least 1")
    finish(measure(chosen), chosen.json)


if __name__ == "__main__":
    main()
