"""questions.json -> DataSet: texts and questions that this project wrote itself, to measure and to tune with.

32 texts of 58 to 2,966 words, each of another domain and register, from a moon to an expedition's journal; 273
questions, 37 of which their text touches but does not answer. The form is that of SQuAD v2.0, with the domain of
each text beside its title. People, places, products and events are invented; what is said of nature, chemistry and
history at large is meant to be true.

It is there so that speed can be measured by anybody, with nothing to download, on texts of real lengths and
kinds, and so that right answers show that what was measured did answer. It is no benchmark of models: it is small,
so that a point of F1 is noise, and whoever wrote the questions had the text at hand, which makes them easier than
those of somebody who wants to know. No question was chosen or left out for what a model makes of it; golds were
widened where a model's answer was right as well. How good a model is, `qa-onnx eval` tells, on data that was made
for it.

The default bundle's int8 graph answers 82.2 % of the answerable ones exactly, with an F1 of 85.7: 90.6 where the
text has at most 250 words, 74.7 in the longest.

Texts, questions and answers have the licence of the code, Apache-2.0.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.data import squad

if TYPE_CHECKING:
    from qa_onnx.data.squad import DataSet

PATH = Path(__file__).with_name("questions.json")
NAME = "questions of qa-onnx"


def load_questions(*, most_words: int | None = None) -> DataSet:
    """The questions, in the order of the file: text by text, the shortest first.

    Args:
        most_words: leave out longer texts, for which much more time is needed; None: all.
    """
    data = squad.load(PATH)
    if most_words is None:
        return replace(data, name=NAME)
    golds = tuple(gold for gold in data.golds if len(gold.context.split()) <= most_words)
    return replace(data, name=f"{NAME}, texts of up to {most_words} words", golds=golds)
