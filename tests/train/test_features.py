"""Questions -> arrays: the windows are the reader's own, and the counts add up."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx import Example, Options
from qa_onnx.data.squad import Gold, load
from qa_onnx.train.features import build
from qa_onnx.train.tally import Tally
from qa_onnx.train.targets import targets
from tests import training_data

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Windower

OPTIONS = Options(max_length=32, doc_stride=8, max_question_length=10)


def test_they_are_the_windows_of_inference_with_their_targets(windower: Windower, tmp_path: Path) -> None:
    golds = load(training_data.write(tmp_path / "data.json", articles=50)).golds  # more than are cut together
    features = build(golds, windower, OPTIONS, tally=Tally(), seed=3)
    draw = random.Random(3)
    cut = windower.cut([Example(gold.question, gold.context) for gold in golds], OPTIONS)
    expected = [
        target for gold, one in zip(golds, cut, strict=True) for target in targets(gold, one.windows, draw)[0]
    ]
    assert len(features) == len(expected) > len(golds)
    ids, types = features.rows(range(len(features)))
    for row, target in enumerate(expected):
        window = target.window
        np.testing.assert_array_equal(ids[row], window.input_ids)
        np.testing.assert_array_equal(types[row], window.token_type_ids)
        span = (target.start, target.end, window.first, window.last, window.cls)
        assert tuple(features.spans[row]) == span


def test_counts_and_names(windower: Windower) -> None:
    context = "The bridge hangs from a steel mast."
    golds = [
        Gold("a", "What hangs?", context, ("bridge",), (4,)),
        Gold("b", "What hangs?", context, ("bridge",), (5,)),
        Gold("c", "What hangs?", context, (), ()),
        Gold("d", "What hangs?", context, ("the mill",), (4,)),
    ]
    tally = Tally()
    features = build(golds, windower, OPTIONS, tally=tally, seed=0)
    assert tally.counts == {"answerable": 2, "moved": 1, "unanswerable": 1, "absent": 1}
    assert tally.named["absent"] == ["d"]
    assert len(features) == 3


def test_nothing_gives_no_features(windower: Windower) -> None:
    assert len(build([], windower, OPTIONS, tally=Tally(), seed=0)) == 0


def test_the_hash_tells_a_change(windower: Windower, tmp_path: Path) -> None:
    golds = load(training_data.write(tmp_path / "data.json", articles=3)).golds

    def hashed(part: tuple[Gold, ...]) -> str:
        return build(part, windower, OPTIONS, tally=Tally(), seed=0).sha256()

    assert hashed(golds) == hashed(golds) != hashed(golds[1:])
