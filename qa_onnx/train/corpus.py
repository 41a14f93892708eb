"""Data files and folders -> the usable questions in them.

A damaged record is counted and left out; a file that cannot be read at all is an error, since the user named it.
"""

from __future__ import annotations

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
            of `squad.ENDINGS`.
        tally: counts the questions that are left out, and what is repaired in the files.

    Returns:
        The files, and their questions in the order of the files.

    Raises:
        InputError: a file cannot be read, or no question is left.
    """
    sources: list[DataFile] = []
    golds: dict[tuple[str, str, str], Gold] = {}
    for path in _files(paths):

        def skip(problem: str, path: Path = path) -> None:
            tally.add("damaged", f"{path.name}: {problem}")

        data = squad.load(path, skip=skip)
        tally.add_repairs(data.repairs)
        before = len(golds)
        for gold in data.golds:
            key = (gold.id, gold.question, gold.context)
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


def nothing_left(paths: Sequence[str | Path], tally: Tally) -> str:
    """Return the message of the error that no question can be used."""
    reasons = "; ".join(tally.lines()) or "the data is empty"
    return f"{', '.join(map(str, paths))}: no question is left to train on: {reasons}"


def _files(paths: Sequence[str | Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        inside = sorted(filter(_is_data, path.rglob("*"))) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path}: the folder holds no file that ends in {', '.join(squad.ENDINGS)}")
        files.update(dict.fromkeys(inside))
    return list(files)


def _is_data(path: Path) -> bool:
    """Return whether a file of a folder is data, and not left by an unfinished run."""
    return path.name.endswith(squad.ENDINGS) and not any(part.endswith(".partial") for part in path.parts)
