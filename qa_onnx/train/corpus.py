"""Files and folders of questions -> the questions to train on and those held out.

A record that cannot be used is counted and named, and the others stay; a file that cannot be read at all is an
error, since someone asked for it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.data import squad
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.data.squad import Gold
    from qa_onnx.train.tally import Tally

MAX_CHARACTERS = 1_000_000
_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_MANY_ARTICLES = 20


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file: its name, the SHA-256 of its bytes, and how many of its questions are used."""

    name: str
    sha256: str
    questions: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """The questions of some files.

    Attributes:
        sources: the files.
        golds: their questions, in the order of the files.
    """

    sources: tuple[DataFile, ...]
    golds: tuple[Gold, ...]


def load_corpus(paths: Sequence[str | Path], tally: Tally) -> Corpus:
    """Read data files, and those of folders.

    Args:
        paths: files as `squad.load` reads them, and folders, of which those files count that end in .json or
            .jsonl, packed with gzip or not.
        tally: is told what is left out.

    Raises:
        InputError: a file cannot be read, or no question is left.
    """
    sources: list[DataFile] = []
    golds: list[Gold] = []
    seen: set[tuple[str, str, str]] = set()
    for path in _files(paths):

        def skip(problem: str, path: Path = path) -> None:
            tally.add("damaged", f"{path.name}: {problem}")

        data = squad.load(path, skip=skip)
        before = len(golds)
        for gold in data.golds:
            key = (gold.id, gold.question, gold.context)
            if max(len(gold.question), len(gold.context)) > MAX_CHARACTERS:
                tally.add("too long", gold.id)
            elif key in seen:
                tally.add("twice", gold.id)
            else:
                seen.add(key)
                golds.append(gold)
        sources.append(DataFile(data.name, data.sha256, len(golds) - before))
    if not golds:
        raise InputError(nothing_left(paths, tally))
    return Corpus(tuple(sources), tuple(golds))


def nothing_left(paths: Sequence[str | Path], tally: Tally) -> str:
    """What to say where no question can be used."""
    said = "; ".join(tally.lines()) or "it holds none"
    return f"{', '.join(map(str, paths))}: no question is left to train on: {said}"


def split(all_golds: tuple[Gold, ...], count: int, seed: int) -> tuple[tuple[Gold, ...], tuple[Gold, ...]]:
    """Hold questions out of training: whole articles where there are many, else whole contexts.

    Args:
        all_golds: all questions.
        count: about how many to hold out; never more than a tenth.
        seed: of the choice.

    Returns:
        Those to train on, and those held out: none where there are fewer than 20 contexts. No text is in both.
    """

    def unit(gold: Gold) -> str:
        return gold.article if by_article else gold.context

    by_article = len({gold.article for gold in all_golds}) >= _MANY_ARTICLES
    units = list(dict.fromkeys(unit(gold) for gold in all_golds))
    if not count or len(units) < _MANY_ARTICLES:
        return all_golds, ()
    count = max(1, min(count, len(all_golds) // 10))
    sizes = dict.fromkeys(units, 0)
    for gold in all_golds:
        sizes[unit(gold)] += 1
    random.Random(seed).shuffle(units)
    chosen: set[str] = set()
    held = 0
    for name in units:
        if held >= count:
            break
        if held + sizes[name] <= 1.5 * count:  # one huge article must not swallow the rest
            chosen.add(name)
            held += sizes[name]
    chosen = chosen or {min(units, key=lambda name: sizes[name])}
    # The same text may come again under another title, or without one.
    texts = {gold.context for gold in all_golds if unit(gold) in chosen}
    kept = tuple(gold for gold in all_golds if gold.context not in texts)
    return kept, tuple(gold for gold in all_golds if gold.context in texts)


def _files(paths: Sequence[str | Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        found = sorted(filter(_is_data, path.rglob("*"))) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path}: the folder holds no file that ends in {', '.join(_ENDINGS)}")
        files.update(dict.fromkeys(found))
    return list(files)


def _is_data(path: Path) -> bool:
    """Whether a file of a folder is meant: not what an unfinished run left there."""
    return path.name.endswith(_ENDINGS) and not any(part.endswith(".partial") for part in path.parts)
