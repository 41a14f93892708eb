from __future__ import annotations

import itertools
import string
import tracemalloc
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qa_onnx.errors import InputError
from qa_onnx.evaluation.metrics import (
    best_null_threshold,
    bootstrap_interval,
    exact_match,
    f1,
    is_unspaced,
    normalize_answer,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Words and marks that meet every rule of normalisation, mixed with any text at all.
PIECES = [
    "a",
    "an",
    "the",
    "The",
    "AN",
    "cat",
    "Cat",
    "cats",
    "42",
    "é",
    "a\u0301",
    "İ",
    "ß",
    "-",
    ".",
    "_",
    "'",
]
TEXTS = st.lists(st.sampled_from([*PIECES, " ", "  ", "\u00a0", "\u2019", "\n"]), max_size=8).map("".join)
ANY_TEXT = TEXTS | st.text(max_size=12)
GOLDS = st.lists(ANY_TEXT, max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Eiffel Tower", "eiffel tower"),
        ("an apple, a pear and the plum", "apple pear and plum"),
        ("theatre, Anna, banana", "theatre anna banana"),
        ("U.S.A.", "usa"),
        ("well-known", "wellknown"),
        ("the_end", "theend"),
        ("A.", ""),
        ("t.h.e end", "end"),
        ("the $ sign", "sign"),
        ("  two \t words\n", "two words"),
        ("no\u00a0break", "no break"),
        ("ÉCOLE à Paris", "école à paris"),
        ("1914–1918", "1914–1918"),
        ("“quoted”", "“quoted”"),
        ("a–z", "–z"),
        ("東京 タワー", "東京 タワー"),
        ("", ""),
    ],
)
def test_normalize_answer(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("predicted", "golds", "em", "overlap"),
    [
        ("the cat", ("Cat!",), 1.0, 1.0),
        ("black cat", ("cat",), 0.0, 2 / 3),
        ("black cat", ("cat", "dog", "A Black Cat."), 1.0, 1.0),
        ("red red rose", ("red rose red bush",), 0.0, 6 / 7),
        ("red red", ("red",), 0.0, 2 / 3),
        ("1,914", ("1914",), 1.0, 1.0),
        ("dog", ("cat",), 0.0, 0.0),
        # Unanswerable, and golds that normalise to nothing.
        ("", (), 1.0, 1.0),
        ("The.", (), 1.0, 1.0),
        ("cat", (), 0.0, 0.0),
        ("", ("cat",), 0.0, 0.0),
        ("", ("the", "cat"), 0.0, 0.0),
        ("the", ("the", "cat"), 0.0, 0.0),
        ("$", ("$",), 1.0, 1.0),
        ("", (".", ""), 1.0, 1.0),
    ],
)
def test_scores(predicted: str, golds: tuple[str, ...], em: float, overlap: float) -> None:
    assert exact_match(predicted, golds) == em
    assert f1(predicted, golds) == pytest.approx(overlap)
    assert f1(predicted, list(golds)) == f1(predicted, golds)


def plain_tokens(text: str) -> list[str]:
    """Normalised tokens by walking over runs of letters and digits, without regular expressions."""
    kept = [letter for letter in text.lower() if letter not in string.punctuation]
    runs = ["".join(run) for _, run in itertools.groupby(kept, key=str.isalnum)]
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def plain_scores(predicted: str, golds: tuple[str, ...]) -> tuple[float, float]:
    """EM and F1 through precision and recall, matching tokens off one by one."""
    em = overlap = 0.0
    meaningful = [plain_tokens(gold) for gold in golds if plain_tokens(gold)]
    for gold in meaningful or [[]]:
        left, tokens = list(gold), plain_tokens(predicted)
        for token in tokens:
            if token in left:
                left.remove(token)
        common = len(gold) - len(left)
        em = max(em, float(tokens == gold))
        if not tokens or not gold:
            overlap = max(overlap, float(tokens == gold))
        elif common:
            precision, recall = common / len(tokens), common / len(gold)
            overlap = max(overlap, 2 * precision * recall / (precision + recall))
    return em, overlap


@given(predicted=ANY_TEXT, golds=GOLDS)
def test_scores_equal_a_plain_computation(predicted: str, golds: tuple[str, ...]) -> None:
    em, overlap = plain_scores(predicted, golds)
    assert normalize_answer(predicted) == " ".join(plain_tokens(predicted))
    assert exact_match(predicted, golds) == em
    assert f1(predicted, golds) == pytest.approx(overlap)


# Scripts without blanks between words

CHINESE = "奥恩河上的磨坊由林玛塔于1874年建造。磨坊于1901年被烧毁，再也没有重建。"


@pytest.mark.parametrize(
    ("text", "unspaced"),
    [
        (CHINESE, True),
        ("Microsoft Office 2007 是由微软公司开发的办公软件。", True),
        ("製粉所はオルヌ川に建てられ、1901年に焼けた。", True),
        ("โรงสีถูกสร้างขึ้นในปี 1874", True),
        ("ໂຮງສີຖືກສ້າງຂຶ້ນ", True),
        ("စက်ရုံကို ဆောက်ခဲ့သည်", True),
        ("រោងម៉ាស៊ីនត្រូវបានសាងសង់", True),
        ("ཆུ་འཐག་དེ་བཞེངས།", True),
        ("𠀀𠀁𠀂", True),
        ("Kublai Khan (忽必烈), the grandson of Genghis Khan, founded the Yuan (元朝).", False),
        ("방앗간은 1874년에 지어졌다", False),
        ("निर्माण 1874 में हुआ", False),
        ("بُنيت الطاحونة عام 1874", False),
        ("The mill “burned” – in 1901 …", False),
        ("1874", False),
        ("", False),
    ],
)
def test_the_script_of_the_context_decides(text: str, unspaced: bool) -> None:
    assert is_unspaced(text) == unspaced


@pytest.mark.parametrize(
    ("predicted", "golds", "em", "overlap"),
    [
        ("林玛塔", ("林玛塔",), 1.0, 1.0),
        ("由林玛塔", ("林玛塔",), 0.0, 6 / 7),
        ("1901年。", ("1901年",), 1.0, 1.0),  # 1901 is one token
        ("1901 年", ("1901年",), 1.0, 1.0),
        ("于1901年", ("1901年",), 0.0, 4 / 5),
        ("1902年", ("1901年",), 0.0, 1 / 2),
        ("《磨坊》", ("磨坊",), 1.0, 1.0),
        ("the 磨坊", ("磨坊",), 0.0, 4 / 5),  # articles stay
        ("", (), 1.0, 1.0),
        ("。", (), 1.0, 1.0),
        ("磨", (), 0.0, 0.0),
    ],
)
def test_scores_by_characters(predicted: str, golds: tuple[str, ...], em: float, overlap: float) -> None:
    assert exact_match(predicted, golds, by_characters=True) == em
    assert f1(predicted, golds, by_characters=True) == pytest.approx(overlap)


def mlqa_tokens(text: str) -> list[str]:
    """Tokens as MLQA's definition has them for Chinese, character by character."""
    tokens, word = [], ""
    for char in text.lower():
        if char in string.punctuation or unicodedata.category(char).startswith("P"):
            continue
        if "\u4e00" <= char <= "\u9fa5" or char.isspace():
            tokens += [word, char.strip()]
            word = ""
        else:
            word += char
    return [token for token in [*tokens, word] if token]


MIXED = st.text(st.sampled_from("磨坊由林 ab1.A。“”、-\u3000\n"), max_size=8)


@given(predicted=MIXED, gold=MIXED)
def test_scores_by_characters_equal_a_plain_reading_of_mlqa(predicted: str, gold: str) -> None:
    ours, theirs = mlqa_tokens(predicted), mlqa_tokens(gold)
    assert exact_match(predicted, (gold,), by_characters=True) == float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    overlap = 2 * common / (len(ours) + len(theirs)) if ours or theirs else 1.0
    assert f1(predicted, (gold,), by_characters=True) == pytest.approx(overlap)


@given(predicted=ANY_TEXT, golds=GOLDS)
def test_exact_match_is_never_above_f1(predicted: str, golds: tuple[str, ...]) -> None:
    assert 0 <= exact_match(predicted, golds) <= f1(predicted, golds) <= 1


def test_bootstrap_interval_agrees_with_the_normal_approximation() -> None:
    values = (np.arange(2000) % 4 == 0).astype(np.float64)
    low, high = bootstrap_interval(values, seed=3, samples=2000)
    half_width = 1.96 * np.sqrt(0.25 * 0.75 / len(values))
    assert (low, high) == pytest.approx((0.25 - half_width, 0.25 + half_width), abs=0.003)
    narrow = bootstrap_interval(values, seed=3, confidence=0.5)
    assert low < narrow[0] < 0.25 < narrow[1] < high


def test_bootstrap_interval_is_seeded_and_exact_for_constants() -> None:
    values = np.linspace(0, 1, 50)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert bootstrap_interval(np.full(7, 0.5)) == (0.5, 0.5)
    assert bootstrap_interval(np.array([1.0]), samples=1) == (1.0, 1.0)


def test_bootstrap_interval_needs_no_memory_for_all_resamples_at_once() -> None:
    values = np.ones(20_000)
    tracemalloc.start()
    try:
        bootstrap_interval(values, samples=200)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * values.nbytes


@pytest.mark.parametrize(
    ("values", "samples", "confidence", "message"),
    [
        (np.empty(0), 10, 0.9, r"values has shape \(0,\).* at least one question"),
        (np.ones((2, 2)), 10, 0.9, r"values has shape \(2, 2\); it must be a vector"),
        (np.array([1.0, np.nan]), 10, 0.9, r"values\[1\] is nan; leave out"),
        (np.ones(2), 0, 0.9, "samples is 0; it must be at least 1"),
        (np.ones(2), 10, 1.0, "confidence is 1.0; it must lie between 0 and 1"),
        (np.ones(2), 10, 0.0, "confidence is 0.0"),
    ],
)
def test_bootstrap_interval_refuses(
    values: NDArray[np.float64], samples: int, confidence: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        bootstrap_interval(values, samples=samples, confidence=confidence)


def mean_at(threshold: float, columns: NDArray[np.float64]) -> float:
    """Mean score when answers with a difference greater than the threshold are withheld."""
    differences, answer, no_answer = columns
    return float(np.where(differences > threshold, no_answer, answer).mean())


# Differences that repeat, and scores in eighths, whose sums are exact.
COLUMNS = st.integers(1, 12).flatmap(
    lambda count: st.tuples(
        hnp.arrays(np.float64, count, elements=st.integers(-3, 3) | st.floats(-1e300, 1e300)),
        hnp.arrays(np.float64, (2, count), elements=st.integers(0, 8).map(lambda eighth: eighth / 8)),
    ).map(np.vstack)
)


@given(columns=COLUMNS)
def test_best_null_threshold_equals_brute_force(columns: NDArray[np.float64]) -> None:
    threshold, best = best_null_threshold(*columns)
    # Every outcome there is: at each difference, that one and all lower ones are answered.
    distinct = np.unique(columns[0])
    candidates = [float(np.nextafter(distinct[0], -np.inf)), *map(float, distinct)]
    means = [mean_at(candidate, columns) for candidate in candidates]
    assert np.isfinite(threshold)
    assert best == pytest.approx(max(means))
    assert mean_at(threshold, columns) == pytest.approx(best)
    lowest_best = candidates[means.index(max(means))]
    assert np.array_equal(columns[0] > threshold, columns[0] > lowest_best)


@given(
    scores=hnp.arrays(np.float64, (2, 9), elements=st.floats(0, 1)),
    differences=hnp.arrays(np.float64, 9, elements=st.floats(-10, 10)),
)
def test_best_null_threshold_reaches_the_maximum_of_any_scores(
    scores: NDArray[np.float64], differences: NDArray[np.float64]
) -> None:
    columns = np.vstack((differences, scores))
    threshold, best = best_null_threshold(*columns)
    means = [mean_at(float(candidate), columns) for candidate in (-11.0, *differences)]
    assert best == pytest.approx(max(means), abs=1e-9)
    assert mean_at(threshold, columns) == pytest.approx(best)


@pytest.mark.parametrize(
    ("differences", "answer", "no_answer", "expected"),
    [
        ([-4.0, 2.0], [1.0, 0.0], [0.0, 1.0], (-1.0, 1.0)),
        ([2.0, -4.0], [0.0, 1.0], [1.0, 0.0], (-1.0, 1.0)),
        ([-4.0, 2.0], [1.0, 1.0], [0.0, 0.0], (3.0, 1.0)),
        ([-4.0, 2.0], [0.0, 0.0], [1.0, 1.0], (-5.0, 1.0)),
        # The wrong answer at 0 earns nothing either way: the lower threshold withholds it.
        ([-4.0, 0.0, 2.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], (-2.0, 2 / 3)),
        # Equal differences go together, whatever would be best for each.
        ([1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0], (2.0, 2 / 3)),
        # Three tenths and their sum differ in floating point, but are a tie.
        ([0.0, 1.0, 2.0, 3.0], [0.0, 0.1, 0.2, 0.0], [0.3, 0.0, 0.0, 0.0], (-1.0, 0.075)),
    ],
)
def test_best_null_threshold_by_hand(
    differences: list[float], answer: list[float], no_answer: list[float], expected: tuple[float, float]
) -> None:
    found = best_null_threshold(np.array(differences), np.array(answer), np.array(no_answer))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("low", [1.0, float(np.nextafter(1.0, 2.0)), -1.0, 5e-324, 1e300, -1.7e308])
def test_best_null_threshold_parts_the_closest_of_neighbours(low: float) -> None:
    high = float(np.nextafter(low, np.inf))
    threshold, best = best_null_threshold(np.array([low, high]), np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert (low <= threshold < high, best) == (True, 1.0)
    threshold, best = best_null_threshold(np.array([low, high]), np.zeros(2), np.ones(2))
    assert (threshold < low, best) == (True, 1.0)


@pytest.mark.parametrize(
    ("differences", "answer", "message"),
    [
        (np.empty(0), np.empty(0), r"score_differences has shape \(0,\)"),
        (np.ones(2), np.ones(3), r"answer_scores has shape \(3,\).*must have the same length"),
        (np.array([0.0, np.inf]), np.ones(2), r"score_differences\[1\] is inf; leave out"),
    ],
)
def test_best_null_threshold_refuses(
    differences: NDArray[np.float64], answer: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        best_null_threshold(differences, answer, np.ones(len(differences)))
