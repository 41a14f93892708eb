"""Data files -> the questions of a run: what is trained on, what is held out of it, and the negatives of both."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.data import squad
from qa_onnx.data.squad import DataSet
from qa_onnx.train.corpus import DataFile, load_corpus, split
from qa_onnx.train.negatives import make_negatives

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from qa_onnx.data.squad import Gold
    from qa_onnx.train.settings import TrainSettings
    from qa_onnx.train.tally import Tally

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Questions:
    """What a run is about.

    Attributes:
        sources: the files that were read.
        train: the questions to train on, negatives included.
        held_out: those to evaluate on; None: there are none, or none are wanted.
        own: whether they were held out of the training data.
    """

    sources: tuple[DataFile, ...]
    train: tuple[Gold, ...]
    held_out: DataSet | None
    own: bool


def read_questions(
    data: Sequence[str | Path], eval_data: str | Path | None, settings: TrainSettings, tally: Tally
) -> Questions:
    """Read data files, and choose what to hold out.

    Args:
        data: files and folders to train on.
        eval_data: a file to evaluate on; None: questions are held out of `data`, with negatives of their own.
        settings: `eval_limit`, `negatives` and `seed` are read.
        tally: is told what is left out, and of the negatives that are trained on.

    Raises:
        InputError: a file cannot be read, or no question is left.
    """
    corpus = load_corpus(data, tally)
    if eval_data is None:
        golds, held_out = _held_out(corpus.golds, settings)
    else:
        golds, held_out = corpus.golds, _sampled(eval_data, corpus.golds, settings)
    negatives = make_negatives(golds, settings.negatives, settings.seed)
    for gold in negatives:
        tally.add("negatives", gold.id)
    negatives.sort(key=lambda gold: gold.context)  # each is tokenized once then
    return Questions(corpus.sources, (*golds, *negatives), held_out, own=eval_data is None)


def to_lines(golds: Iterable[Gold]) -> str:
    """Questions as JSON Lines."""
    return "".join(_line(gold) for gold in golds)


def _held_out(golds: tuple[Gold, ...], settings: TrainSettings) -> tuple[tuple[Gold, ...], DataSet | None]:
    if not settings.eval_limit:
        return golds, None
    kept, held = split(golds, settings.eval_limit, settings.seed)
    if not held:
        _LOG.warning("there are too few texts to hold any out: nothing will tell how well the model answers")
        return kept, None
    held = _with_own_ids((*held, *make_negatives(held, settings.negatives, settings.seed)))
    return kept, DataSet("questions held out", hashlib.sha256(to_lines(held).encode()).hexdigest(), held)


def _with_own_ids(golds: Iterable[Gold]) -> tuple[Gold, ...]:
    """Ids are unique in a file; of several files, some may be the same."""
    taken: set[str] = set()
    found = []
    for gold in golds:
        numbers = (gold.id if number == 1 else f"{gold.id} ({number})" for number in itertools.count(1))
        own = next(name for name in numbers if name not in taken)
        taken.add(own)
        found.append(gold if own == gold.id else dataclasses.replace(gold, id=own))
    return tuple(found)


def _sampled(eval_data: str | Path, golds: tuple[Gold, ...], settings: TrainSettings) -> DataSet | None:
    if not settings.eval_limit:
        return None
    found = squad.load(eval_data, limit=settings.eval_limit, seed=settings.seed)
    known = {gold.context for gold in golds}
    if seen := sum(gold.context in known for gold in found.golds):
        _LOG.warning(
            "%d of %d questions of %s are about texts of the training data: scores on it will be too high",
            *(seen, len(found.golds), found.name),
        )
    return found


def _line(gold: Gold) -> str:
    answers = [
        {"text": text, "answer_start": start} for text, start in zip(gold.answers, gold.answer_starts, strict=True)
    ]
    fields = {"id": gold.id, "title": gold.article, "question": gold.question, "context": gold.context}
    return json.dumps({**fields, "answers": answers}, ensure_ascii=False) + "\n"
