"""Search, then read: recall of BM25, F1 by the number of passages that are read, and milliseconds by part.

    python benchmarks/retrieval.py dev.json --book train.json --json benchmarks/results/retrieval.json

Two corpora: all paragraphs of the first file, each as a document; and one document of some 150,000 words, about
500 pages, of paragraphs of the second file. Questions are asked without their paragraph, as a user of many
documents asks. Every question gets an answer, and F1 is that of SQuAD. Reading everything takes seconds a
question, so only some questions are read so; the same ones are compared.

What a model says of a question and a passage is computed once, and budgets and scales are compared on it. Times
are taken in calls of their own, with nothing remembered.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bm25s
import numpy as np
from bm25s.stopwords import STOPWORDS_EN
from pages import Page, command, parser, write

from qa_onnx import Reader
from qa_onnx.data import squad
from qa_onnx.documents.document import Document
from qa_onnx.evaluation.metrics import f1
from qa_onnx.machine import cpu
from qa_onnx.retrieval import PassageIndex, ask_documents
from qa_onnx.retrieval.index import QUESTION_WORDS
from qa_onnx.retrieval.scoring import best
from qa_onnx.retrieval.terms import terms_of

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Sequence

    from qa_onnx import Options, Prediction
    from qa_onnx.data.gold import Gold
    from qa_onnx.retrieval import Passage

RANKS = (1, 5, 20, 100)
BUDGETS = (1, 5, 10, 20, 50, 100)
BOOK_WORDS = 150_000
DEFAULT = 50  # passages: what `ask_documents` reads at most


class RecordingReader:
    """A reader that remembers every prediction."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._known = reader, dict[tuple[str, str], "Prediction"]()
        self.steps, self.resolve, self.null_threshold = reader.steps, reader.resolve, None

    def predict(self, examples: Sequence[tuple[str, str]], *, options: Options) -> list[Prediction]:
        """Predict what is not known yet."""
        new = [example for example in examples if example not in self._known]
        self._known.update(zip(new, self._reader.predict(new, options=options), strict=True))
        return [self._known[example] for example in examples]


@dataclass(frozen=True)
class Corpus:
    """An index with questions on it, of which the first `everything` are read completely."""

    name: str
    index: PassageIndex
    golds: tuple[Gold, ...]
    everything: int


def paragraphs_of(golds: Iterable[Gold]) -> list[str]:
    return list(dict.fromkeys(gold.context for gold in golds))


def paragraphs(path: Path, questions: int, everything: int) -> tuple[Corpus, tuple[Gold, ...]]:
    """Return the corpus of a file's paragraphs, and all of its questions."""
    golds = tuple(gold for gold in squad.load(path).golds if gold.answers)
    documents = [Document(str(number), text) for number, text in enumerate(paragraphs_of(golds))]
    some = squad.sample(golds, questions, seed=0)
    return Corpus(f"{len(documents):,} paragraphs", PassageIndex.of(documents), mixed(some), everything), golds


def book(path: Path, words: int, questions: int, everything: int) -> Corpus:
    """Return a corpus of one document, of random articles of a file."""
    articles: dict[str, list[Gold]] = {}
    for gold in squad.load(path).golds:
        articles.setdefault(gold.article, []).append(gold)
    names = sorted(articles)
    random.Random(0).shuffle(names)
    chosen: list[Gold] = []
    texts: list[str] = []
    while names and sum(len(text.split()) for text in texts) < words:
        golds = articles[names.pop()]
        texts.append("\n\n".join(paragraphs_of(golds)))
        chosen += [gold for gold in golds if gold.answers]
    text = "\n\n".join(texts)
    some = squad.sample(tuple(chosen), questions, seed=0)
    name = f"a book of {len(text.split()):,} words"
    return Corpus(name, PassageIndex.of([Document("book", text)]), mixed(some), everything)


def mixed(golds: Iterable[Gold]) -> tuple[Gold, ...]:
    """Return questions in random order, so that the first ones are a sample."""
    order = list(golds)
    random.Random(0).shuffle(order)
    return tuple(order)


def singular(word: str) -> str:
    """Return a word without its plural's s, as Harman's S stemmer (1991) does."""
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return f"{word[:-3]}y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    return word[:-1] if word.endswith("s") and not word.endswith(("us", "ss")) else word


def recall(corpus: Corpus, golds: Sequence[Gold]) -> Page:
    """Return how often a passage of the right paragraph that holds an answer is among the first ones."""
    index = corpus.index
    passages = [index.passage(number) for number in range(len(index))]
    texts = paragraphs_of(golds)
    number_of = {text: str(number) for number, text in enumerate(texts)}
    right = _right(golds, passages, number_of)
    stop = set(STOPWORDS_EN)
    plain = terms_of

    def without(words: Iterable[str], stem: Callable[[str], str] = str) -> Callable[[str], list[str]]:
        left_out = set(words)
        return lambda text: [stem(term) for term in terms_of(text) if term not in left_out]

    ways: list[tuple[str, Callable[[str], list[str]], Callable[[str], list[str]], float, float]] = [
        ("as shipped: question words left out", plain, without(QUESTION_WORDS), 1.5, 0.75),
        ("all words", plain, plain, 1.5, 0.75),
        ("stop words left out", without(stop), without(stop), 1.5, 0.75),
        ("plurals as singulars", without((), singular), without(QUESTION_WORDS, singular), 1.5, 0.75),
        ("k1 1.2, b 0.75", plain, without(QUESTION_WORDS), 1.2, 0.75),
        ("k1 0.9, b 0.4", plain, without(QUESTION_WORDS), 0.9, 0.4),
        ("k1 2.0, b 0.75", plain, without(QUESTION_WORDS), 2.0, 0.75),
    ]
    rows = []
    for name, of_text, of_question, k1, b in ways:
        model = bm25s.BM25(k1=k1, b=b, method="lucene")
        model.index([of_text(passage.text) for passage in passages], show_progress=False)
        places = []
        for gold, numbers in zip(golds, right, strict=True):
            terms = model.get_tokens_ids(of_question(gold.question))
            order = best(model.get_scores_from_ids(terms), RANKS[-1]).tolist()
            places.append(next((place for place, number in enumerate(order) if number in numbers), RANKS[-1]))
        found = [100 * statistics.fmean(place < rank for place in places) for rank in RANKS]
        rows.append((name, *(f"{share:.1f}" for share in found)))
    return Page(
        title=f"Recall of BM25, {corpus.name}",
        head=("way", *(f"% in the first {rank}" for rank in RANKS)),
        rows=tuple(rows),
        notes=(f"{len(golds):,} questions, {len(passages):,} passages",),
    )


def _right(golds: Sequence[Gold], passages: Sequence[Passage], number_of: dict[str, str]) -> list[set[int]]:
    of_document: dict[str, list[tuple[int, Passage]]] = {}
    for number, passage in enumerate(passages):
        of_document.setdefault(passage.document, []).append((number, passage))
    return [
        {
            number
            for number, passage in of_document[number_of[gold.context]]
            if any(answer in passage.text for answer in gold.answers)
        }
        for gold in golds
    ]


def ask(reader: Any, corpus: Corpus, gold: Gold, read: int, options: Options, *, stop_early: bool) -> Any:
    return ask_documents(reader, gold.question, corpus.index, read=read, options=options, stop_early=stop_early)


def f1_of(text: str, gold: Gold) -> float:
    return 100 * f1(text, gold.answers)


def reading(corpus: Corpus, reader: Reader, recording: RecordingReader) -> Page:
    """Return F1 by the number of passages that are read at most."""
    options = replace(reader.options, n_best=1, null_threshold=None)
    few = corpus.golds[: corpus.everything]
    rows = []
    seconds, scores = [], []
    for gold in few:
        result = ask(recording, corpus, gold, len(corpus.index), options, stop_early=False)
        seconds.append(result.seconds)
        scores.append(f1_of(result.answers[0].text, gold))
    everything = statistics.fmean(scores)
    for stop_early in (False, True):
        for read in BUDGETS:
            results = [ask(recording, corpus, gold, read, options, stop_early=stop_early) for gold in corpus.golds]
            scores = [f1_of(one.answers[0].text, gold) for one, gold in zip(results, corpus.golds, strict=True)]
            same = statistics.fmean(scores[: len(few)])
            rows.append(
                (
                    f"{read}{', stops when sure' if stop_early else ''}",
                    f"{statistics.fmean(one.read for one in results):.1f}",
                    f"{statistics.fmean(scores):.2f}",
                    f"{same:.2f}",
                    f"{100 * same / everything:.1f}" if everything else "",
                )
            )
    rows.append((f"all {len(corpus.index):,}", f"{len(corpus.index):,}", "", f"{everything:.2f}", "100.0"))
    return Page(
        title=f"F1 by the passages that are read at most, {corpus.name}",
        head=("passages", "read, mean", "F1", "F1, the same few", "% of all read"),
        rows=tuple(rows),
        notes=(
            f"{len(corpus.golds):,} questions; {len(few)} of them with everything read, which took "
            f"{statistics.median(seconds):.2f} s a question (median)",
        ),
    )


def scales(corpus: Corpus, reader: Reader, recording: RecordingReader) -> Page:
    """Return F1 with the answers of all passages on other scales."""
    options = replace(reader.options, n_best=1, null_threshold=None)
    ways: dict[str, Callable[[Prediction, Passage, int], float]] = {
        "start + end logit": lambda p, _, __: p.answers[0].score,
        "probability in its passage": lambda p, _, __: p.answers[0].probability,
        "less the null score": lambda p, _, __: p.answers[0].score - p.null_score,
        "less ln(rank)": lambda p, _, n: p.answers[0].score - p.null_score - math.log(n),
    }
    for weight in (0.3, 0.5, 0.7, 1.0, 1.3, 2.0, 3.0):
        ways[f"less the null score, plus {weight} BM25"] = lambda p, passage, _, w=weight: (  # type: ignore[misc]
            p.answers[0].score - p.null_score + w * passage.score
        )
    scores: dict[str, list[list[float]]] = {name: [[] for _ in BUDGETS] for name in ways}
    for gold in corpus.golds:
        passages = corpus.index.search(gold.question, BUDGETS[-1])
        predictions = recording.predict([(gold.question, one.text) for one in passages], options=options)
        read = [
            (p, passage, n)
            for n, (p, passage) in enumerate(zip(predictions, passages, strict=True), 1)
            if p.answers
        ]
        for name, way in ways.items():
            for place, budget in enumerate(BUDGETS):
                first = max(read[:budget], key=lambda entry: way(*entry))[0].answers[0].text
                scores[name][place].append(f1_of(first, gold))
    return Page(
        title=f"F1 by the scale that answers of different passages share, {corpus.name}",
        head=("scale", *(f"{budget} read" for budget in BUDGETS)),
        rows=tuple((name, *(f"{statistics.fmean(one):.2f}" for one in lists)) for name, lists in scores.items()),
        notes=(f"{len(corpus.golds):,} questions, without an early stop",),
    )


def times(corpora: Sequence[Corpus], reader: Reader, questions: int) -> Page:
    """Return the milliseconds of the parts of a question, with nothing remembered."""
    rows = []
    for corpus in corpora:
        documents = [Document(name, text) for name, text in texts_of(corpus.index).items()]
        started = time.perf_counter()
        PassageIndex.of(documents)
        build = time.perf_counter() - started
        search, whole, read = [], [], []
        for gold in corpus.golds[:questions]:
            reader.steps.windower.forget()
            started = time.perf_counter()
            corpus.index.search(gold.question, DEFAULT)
            search.append(1000 * (time.perf_counter() - started))
            result = ask_documents(reader, gold.question, corpus.index, read=DEFAULT)
            whole.append(1000 * result.seconds)
            read.append(result.read)
        high = float(np.percentile(whole, 95))
        rows.append(
            (
                corpus.name,
                f"{1000 * build:,.0f}",
                f"{statistics.median(search):.1f}",
                f"{statistics.median(whole):.0f}",
                f"{high:.0f}",
                f"{statistics.fmean(read):.1f}",
                f"{sum(whole) / sum(read):.1f}",
            )
        )
    return Page(
        title="Milliseconds",
        head=("corpus", "index in memory", "search, median", "answer, median", "95 %", "passages", "a passage"),
        rows=tuple(rows),
        notes=(
            f"{min(questions, *(len(corpus.golds) for corpus in corpora))} questions a corpus, at most {DEFAULT} "
            "passages, with early stop; an answer includes its search",
        ),
    )


def texts_of(index: PassageIndex) -> dict[str, str]:
    """Return the texts of an index by the names of its documents."""
    texts: dict[str, list[str]] = {}
    for number in range(len(index)):
        passage = index.passage(number)
        texts.setdefault(passage.document, []).append(passage.text)
    return {name: "".join(parts) for name, parts in texts.items()}


def measure(chosen: Namespace) -> None:
    """Print each page when it is there, and write all of them so far to the file."""
    reader = Reader.load(chosen.bundle, precision=chosen.precision, threads=chosen.threads)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    corpus, golds = paragraphs(chosen.data, chosen.questions, chosen.everything)
    corpora = [corpus]
    if chosen.book:
        words = BOOK_WORDS // 50 if chosen.quick else BOOK_WORDS
        corpora.append(book(chosen.book, words, chosen.questions, chosen.everything))
    machine = (
        f"{reader.precision} on {reader.backend}, {chosen.threads or 'all'} threads, {cpu.cpu_model()}, "
        f"{cpu.cores().usable} cores; load of the machine before the start: {load}"
    )
    repeat = command(without={"--json": chosen.json})
    pages: list[dict[str, Any]] = []

    def add(page: Page) -> None:
        whole = replace(page, notes=(*page.notes, machine), command=repeat)
        print(whole.text(), flush=True)
        pages.append(asdict(whole))
        if chosen.json:
            write(chosen.json, json.dumps(pages, indent=1, ensure_ascii=False) + "\n")

    add(recall(corpus, golds))
    add(times(corpora, reader, chosen.timed))
    for one in corpora if chosen.read == "both" else corpora[-1:]:
        recording = RecordingReader(reader)
        add(reading(one, reader, recording))
        add(scales(one, reader, recording))


def main(words: Sequence[str] | None = None) -> None:
    cli = parser(__doc__)
    cli.add_argument("data", type=Path, help="questions on the paragraphs of the first corpus, in any form")
    cli.add_argument("--book", type=Path, metavar="FILE", help="questions on those of the second one")
    cli.add_argument("--questions", type=int, default=500, help="of a corpus  [default: 500]")
    cli.add_argument("--everything", type=int, default=40, help="of them with everything read  [default: 40]")
    cli.add_argument("--timed", type=int, default=50, help="of them that are timed  [default: 50]")
    cli.add_argument(
        "--read", choices=("both", "last"), default="both", help="corpora that are read; reading all takes hours"
    )
    cli.add_argument("--bundle", type=Path, help="[default: the one that comes with qa-onnx]")
    cli.add_argument("--precision")
    cli.add_argument("--threads", type=int)
    chosen = cli.parse_args(words)
    if chosen.quick:
        chosen.questions, chosen.everything, chosen.timed = 8, 2, 4
    if min(chosen.questions, chosen.everything, chosen.timed) < 1:
        cli.error("--questions, --everything and --timed must be at least 1")
    measure(chosen)


if __name__ == "__main__":
    main()
