"""Questions with answers, made by rule so that a tiny model can learn them."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = ("Marta", "Owen", "Ida", "Zoë", "Paul", "Nora", "Emil", "Agnes", "Tilda", "Bruno")
_THINGS = (
    "lentils",
    "onions",
    "carrots",
    "tools",
    "books",
    "a drill",
    "a projector",
    "voles",
    "tea",
    "lemon juice",
)
_PLACES = ("the library", "the river", "the harbour office", "the café", "the bridge", "the shop", "the bank")


def article(draw: random.Random, number: int, *, paragraphs: int = 2) -> dict[str, Any]:
    """Return an article of a SQuAD file: three sentences per paragraph, and a question about each."""
    return {
        "title": f"article {number}",
        "paragraphs": [_paragraph(draw, f"{number}-{index}") for index in range(paragraphs)],
    }


def _paragraph(draw: random.Random, place: str) -> dict[str, Any]:
    context, qas = "", []
    for index, name in enumerate(draw.sample(_NAMES, 3)):
        thing, where = draw.choice(_THINGS), draw.choice(_PLACES)
        start = len(context) + len(f"{name} keeps ")
        context += f"{name} keeps {thing} in {where}. "
        text, question = thing, f"What does {name} keep?"
        if index == 1:
            text, question, start = where, f"Where does {name} keep it?", start + len(f"{thing} in ")
        qas.append(
            {"id": f"{place}-{index}", "question": question, "answers": [{"text": text, "answer_start": start}]}
        )
    return {"context": context.rstrip(), "qas": qas}


def write(path: Path, *, articles: int = 34, paragraphs: int = 2, seed: int = 7) -> Path:
    """Write a SQuAD file with six questions per article."""
    draw = random.Random(seed)
    data = [article(draw, number, paragraphs=paragraphs) for number in range(articles)]
    path.write_text(json.dumps({"version": "1.1", "data": data}), encoding="utf-8")
    return path


def lines(path: Path, *records: dict[str, Any]) -> Path:
    """Write a JSON Lines file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path
