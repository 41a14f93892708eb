"""Documents of generated words for the tests of the room."""

from __future__ import annotations

import random

from qa_onnx.documents.document import Document

WORDS = [f"{first}{middle}{last}" for first in "bdfkl" for middle in "aeiou" for last in ("n", "r", "st", "m")]


def make_documents(count: int = 6, *, seed: int = 0, paragraphs: int = 4) -> list[Document]:
    """Documents of paragraphs of 60 to 160 words; early words of the list are the frequent ones."""
    chance = random.Random(seed)

    def paragraph() -> str:
        words = [WORDS[int(len(WORDS) * chance.random() ** 2)] for _ in range(chance.randint(60, 160))]
        return " ".join(words).capitalize() + "."

    return [
        Document(f"text-{number}.txt", "\n\n".join(paragraph() for _ in range(paragraphs)))
        for number in range(count)
    ]
