"""Questions + the other paragraphs of their articles -> questions without an answer.

A model that has seen none answers whatever it is asked. A question about the same article, asked of a paragraph
that does not hold the answer, is a harder lesson than one of another article.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from qa_onnx.data.squad import Gold

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRIES = 8


def make_negatives(golds: Sequence[Gold], share: float, seed: int) -> list[Gold]:
    """Ask some of the questions again, of another paragraph of their article.

    The other paragraph holds none of the question's answers, whatever their case and blanks. Of an article
    without such a paragraph, no question is taken; lines without a title are one article.

    Args:
        golds: the questions.
        share: of those with an answer.
        seed: of the choice.

    Returns:
        As many as that, or as there are; their ids end in "-negative".
    """
    draw = random.Random(seed)
    contexts: dict[str, list[str]] = {}
    for article, context in dict.fromkeys((gold.article, gold.context) for gold in golds):
        contexts.setdefault(article, []).append(context)
    plain = {context: _plain(context) for found in contexts.values() for context in found}
    answerable = [gold for gold in golds if gold.answers]
    wanted = round(share * len(answerable))
    negatives: list[Gold] = []
    for gold in draw.sample(answerable, len(answerable)):
        if len(negatives) >= wanted:
            break
        others, answers = contexts[gold.article], [_plain(answer) for answer in gold.answers]
        for _ in range(_TRIES):
            context = draw.choice(others)
            if context != gold.context and not any(answer in plain[context] for answer in answers):
                negatives.append(Gold(f"{gold.id}-negative", gold.question, context, (), (), gold.article))
                break
    return negatives


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()
