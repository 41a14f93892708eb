"""Data files -> the questions of a run: those to train on, those held out, and added negatives of both.

A negative is a question asked of another paragraph of its article, which does not hold the answer. A model that
has seen no unanswerable question answers every one, and such a pair is harder to learn than one of two articles.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.data import squad
from qa_onnx.data.squad import DataSet, Gold
from qa_onnx.train.corpus import DataFile, Tally, load_corpus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from qa_onnx.train.settings import TrainSettings

_LOG = logging.getLogger(__name__)

_MANY_ARTICLES = 20
_TRIES = 8  # paragraphs that are tried for a negative


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions of a run.

    Attributes:
        sources: the files that were read.
        train: the questions to train on, negatives included.
        held_out: those to evaluate on; None: there is no evaluation.
        own: whether they were held out of the training data.
    """

    sources: tuple[DataFile, ...]
    train: tuple[Gold, ...]
    held_out: DataSet | None
    own: bool


def read_questions(
    data: Sequence[str | Path], eval_data: str | Path | None, settings: TrainSettings, tally: Tally
) -> Questions:
    """Read data files, hold questions out, and add negatives.

    Args:
        data: files and folders to train on.
        eval_data: a file to evaluate on; None: questions are held out of `data`, with negatives of their own.
        settings: `eval_limit`, `negatives` and `seed` are read.
        tally: counts what is left out, and the negatives that are trained on.

    Raises:
        InputError: a file cannot be read, or no question is left.
    """
    sources, golds = load_corpus(data, tally)
    held_out = None
    if settings.eval_limit and eval_data is None:
        golds, held_out = _hold_out(golds, settings)
    elif settings.eval_limit and eval_data is not None:
        held_out = _sample(eval_data, golds, settings)
    negatives = make_negatives(golds, settings.negatives, settings.seed)
    for gold in negatives:
        tally.add("negatives", gold.id)
    negatives.sort(key=lambda gold: gold.context)  # so each context is tokenized once
    return Questions(sources, (*golds, *negatives), held_out, own=eval_data is None)


def split(all_golds: tuple[Gold, ...], count: int, seed: int) -> tuple[tuple[Gold, ...], tuple[Gold, ...]]:
    """Hold about `count` questions, at most a tenth, out of training.

    Whole articles are held out if there are at least 20, else whole contexts.

    Returns:
        The questions to train on, and those held out: none of fewer than 20 contexts. No context is in both.
    """
    names = [gold.article for gold in all_golds]
    if len(set(names)) < _MANY_ARTICLES:
        names = [gold.context for gold in all_golds]
    sizes = Counter(names)
    if len(sizes) < _MANY_ARTICLES:
        return all_golds, ()
    count = max(1, min(count, len(all_golds) // 10))
    units = list(sizes)
    random.Random(seed).shuffle(units)
    chosen, held = set(), 0
    for name in units:
        if held < count and held + sizes[name] <= 1.5 * count:  # one huge article must not take all
            chosen.add(name)
            held += sizes[name]
    chosen = chosen or {min(units, key=lambda name: sizes[name])}
    # The same context can occur again under another title, or without one.
    contexts = {gold.context for gold, name in zip(all_golds, names, strict=True) if name in chosen}
    kept = tuple(gold for gold in all_golds if gold.context not in contexts)
    return kept, tuple(gold for gold in all_golds if gold.context in contexts)


def make_negatives(golds: Sequence[Gold], share: float, seed: int) -> list[Gold]:
    """Ask some of the questions again, of another paragraph of their article.

    That paragraph holds none of the question's answers, in any case and spacing; questions without such a
    paragraph are not asked. Lines without a title count as one article.

    Returns:
        As many as `share` of the answerable questions, if there are so many; their ids end in "-negative".
    """
    draw = random.Random(seed)
    contexts: dict[str, list[str]] = {}
    for article, context in dict.fromkeys((gold.article, gold.context) for gold in golds):
        contexts.setdefault(article, []).append(context)
    plain = {gold.context: _plain(gold.context) for gold in golds}
    answerable = [gold for gold in golds if gold.answers]
    wanted = round(share * len(answerable))
    negatives: list[Gold] = []
    for gold in draw.sample(answerable, len(answerable)):
        if len(negatives) >= wanted:
            break
        answers = [_plain(answer) for answer in gold.answers]
        for _ in range(_TRIES):
            context = draw.choice(contexts[gold.article])
            if context != gold.context and not any(answer in plain[context] for answer in answers):
                negatives.append(Gold(f"{gold.id}-negative", gold.question, context, (), (), gold.article))
                break
    return negatives


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def to_lines(golds: Iterable[Gold]) -> str:
    """Write questions as JSON Lines."""
    lines = []
    for gold in golds:
        answers = zip(gold.answers, gold.answer_starts, strict=True)
        record = {
            "id": gold.id,
            "title": gold.article,
            "question": gold.question,
            "context": gold.context,
            "answers": [{"text": text, "answer_start": start} for text, start in answers],
        }
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    return "".join(lines)


def _hold_out(golds: tuple[Gold, ...], settings: TrainSettings) -> tuple[tuple[Gold, ...], DataSet | None]:
    kept, held = split(golds, settings.eval_limit, settings.seed)
    if not held:
        _LOG.warning("there are too few texts to hold any out: the model will not be evaluated")
        return kept, None
    held = _with_unique_ids((*held, *make_negatives(held, settings.negatives, settings.seed)))
    return kept, DataSet("questions held out", hashlib.sha256(to_lines(held).encode()).hexdigest(), held)


def _with_unique_ids(golds: Iterable[Gold]) -> tuple[Gold, ...]:
    """Number the ids that occur in several files."""
    unique: dict[str, Gold] = {}
    for gold in golds:
        name, number = gold.id, 1
        while name in unique:
            number += 1
            name = f"{gold.id} ({number})"
        unique[name] = dataclasses.replace(gold, id=name)
    return tuple(unique.values())


def _sample(eval_data: str | Path, golds: tuple[Gold, ...], settings: TrainSettings) -> DataSet:
    data = squad.load(eval_data, limit=settings.eval_limit, seed=settings.seed)
    contexts = {gold.context for gold in golds}
    if seen := sum(gold.context in contexts for gold in data.golds):
        _LOG.warning(
            "%d of %d questions of %s are about texts of the training data: scores on it will be too high",
            *(seen, len(data.golds), data.name),
        )
    return data
