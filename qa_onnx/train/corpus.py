"""Data files and folders -> the usable questions in them, and a tally of what became of each question.

A damaged record is counted and left out; a file that cannot be read at all is an error, since the user named it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.data import squad
from qa_onnx.data.endings import TAKEN, form_of
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qa_onnx.data.squad import Gold, Repairs

MAX_CHARACTERS = 1_000_000
_NAMED = 5

# Kind: its line in the report, in this order. The first are trained on, the others left out.
USED = {
    "answerable": "have an answer",
    "unanswerable": "have no answer: the target is CLS",
    "negatives": "of them were added: questions asked of another paragraph of their article",
    "far negatives": "of them were added: questions asked of a paragraph of another article",
    "moved": "had a wrong answer_start, and the text is found once, or once nearby: repaired",
    "blank": "of their answers were blank: taken as none",
    "numbers": "of their numbers were floats or text: read as whole numbers",
    "trimmed": "had blanks around their answer: cut off",
    "ambiguous": "have no answer_start, and the text is found several times: the first is taken",
    "widened": "have an answer that starts or ends inside a token: the whole token is taken",
}
LEFT_OUT = {
    "damaged": "are damaged",
    "twice": "are in the data twice",
    "too long": "have a question or a context of more than a million characters",
    "misplaced": "have a wrong answer_start, and the text is not found once nearby",
    "absent": "have an answer that is not in the context",
    "no token": "have an answer of which the tokenizer leaves nothing",
    "cut": "have an answer that no window holds whole",
    "contradicted": "have no answer, but one elsewhere in the data, in every window of the same text",
}


@dataclass(slots=True)
class Tally:
    """Number of questions by kind, with the ids of the first few.

    Attributes:
        counts: number of questions of each kind.
        named: ids of the first of each kind, or where they are and what is wrong with them.
    """

    counts: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Count a question."""
        assert kind in USED or kind in LEFT_OUT, kind
        self.counts[kind] = self.counts.get(kind, 0) + 1
        names = self.named.setdefault(kind, [])
        if len(names) < _NAMED:
            names.append(name[:300])

    def add_repairs(self, repairs: Repairs) -> None:
        """Count what was repaired in a file."""
        for kind, count in repairs.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count

    def lines(self) -> list[str]:
        """Return the report: a line for each kind that occurs."""
        return [
            f"{self.counts[kind]:,} {meaning}{self._names(kind)}"
            for kind, meaning in {**USED, **LEFT_OUT}.items()
            if kind in self.counts
        ]

    def _names(self, kind: str) -> str:
        more = ["..."] if self.counts[kind] > _NAMED else []
        return f" ({'; '.join(self.named[kind] + more)})" if kind in LEFT_OUT else ""


@dataclass(frozen=True, slots=True)
class DataFile:
    """Name of a data file, the SHA-256 of its bytes, and the number of its questions that are used."""

    name: str
    sha256: str
    questions: int


def load_corpus(paths: Sequence[str | Path], tally: Tally) -> tuple[tuple[DataFile, ...], tuple[Gold, ...]]:
    """Read data files and folders.

    Args:
        paths: files and names as `squad.load` reads them, and folders, of which the files are read that end in one
            of `squad.ENDINGS`, in any case.
        tally: counts the questions that are left out, and what is repaired in the files.

    Returns:
        The files, and their questions in the order of the files.

    Raises:
        InputError: a file cannot be read, or no question is left.
    """
    sources = []
    golds: dict[tuple[object, ...], Gold] = {}
    for path in _files(paths):

        def skip(problem: str, path: Path = path) -> None:
            tally.add("damaged", f"{path.name}: {problem}")

        data = squad.load(path, skip=skip)
        tally.add_repairs(data.repairs)
        before = len(golds)
        for gold in data.golds:
            key = (gold.id, gold.question, gold.context, gold.answers)
            if max(len(gold.question), len(gold.context)) > MAX_CHARACTERS:
                tally.add("too long", gold.id)
            elif key in golds:
                tally.add("twice", gold.id)
            else:
                golds[key] = gold
        sources.append(DataFile(data.name, data.sha256, len(golds) - before))
    if not golds:
        raise InputError(nothing_left(paths, tally))
    return tuple(sources), tuple(golds.values())


def plain(text: str) -> str:
    """Return a text without differences of case and spacing, to look for an answer in it."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def right_answers(golds: Iterable[Gold]) -> dict[tuple[str, str], set[str]]:
    """Return the answers to each question, `plain`, in each context: two rows can ask the same."""
    right: dict[tuple[str, str], set[str]] = {}
    for gold in golds:
        right.setdefault((plain(gold.question), gold.context), set()).update(gold.answers)
    return right


def nothing_left(paths: Sequence[str | Path], tally: Tally) -> str:
    """Return the message of the error that no question can be used."""
    reasons = "; ".join(tally.lines()) or "the data is empty"
    return f"{', '.join(map(str, paths))}: no question is left to train on: {reasons}"


def _files(paths: Sequence[str | Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        inside = sorted(filter(_is_data, path.rglob("*"))) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path}: the folder holds no file that ends in {TAKEN}")
        files.update(dict.fromkeys(inside))
    return list(files)


def _is_data(path: Path) -> bool:
    """Return whether a file of a folder is data, and not left by an unfinished run."""
    is_left = any(part.endswith(".partial") for part in path.parts)
    return form_of(path.name) is not None and not is_left and path.is_file()
