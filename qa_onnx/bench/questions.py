"""questions.json -> DataSet: texts and questions that this project wrote itself, for benchmarks and tuning.

32 texts of 58 to 2,966 words, each of another domain and register; 273 questions, 37 of which are on the topic of
their text but have no answer in it. The form is that of SQuAD v2.0, with the domain of each text beside its title.
People, places, products and events are invented; statements about nature, chemistry and history are meant to be
true. The licence is that of the code, Apache-2.0.

With it anybody can measure speed on texts of real lengths and kinds, without a download, and see from correct
answers that the contenders did the work. It is no benchmark of models: a point of F1 is noise, and its authors had
the text at hand, which makes questions easier. No question was chosen because of a model's answer; gold
answers were added where a model's answer was right as well. The default bundle's int8 graph answers 82.2 % of the
answerable ones exactly, with an F1 of 85.7: 90.6 where the text has at most 250 words, 74.7 in the longest.
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


def load_questions(file: Path | None = None, *, most_words: int | None = None) -> DataSet:
    """Return the questions, text by text, the shortest text first.

    Args:
        file: take all questions of this data file instead; None: those of questions.json.
        most_words: of those, leave out longer texts, which take much more time; None: all.

    Raises:
        InputError: the file is not a data file; see `squad.load`.
    """
    if file is not None:
        return squad.load(file)
    data = squad.load(PATH)
    if most_words is None:
        return replace(data, name=NAME)
    golds = tuple(gold for gold in data.golds if len(gold.context.split()) <= most_words)
    return replace(data, name=f"{NAME}, texts of up to {most_words} words", golds=golds)
