"""Distinct answers: the groups of overlapping spans, and their probabilities, equal brute force."""

from __future__ import annotations

import itertools
import math
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import Options, groups
from qa_onnx.tokens.boundaries import whole
from tests.test_answers import (
    KINDS,
    TEXTS,
    byte_rows,
    cut,
    every_span,
    log_total,
    narrow_options,
    predict,
    random_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.spans import WindowLogits

DISTINCT = narrow_options().map(lambda options: replace(options, overlapping=False))


class Expected(NamedTuple):
    """A group by brute force: the characters and the score of its best span, and the spans that it took."""

    start: int
    end: int
    score: float
    members: list[float]


def every_group(rows: Sequence[WindowLogits], options: Options) -> list[Expected]:
    """All groups, best first, of all spans one by one."""
    context = rows[0].window.context
    left = every_span(rows, options)
    free = set(range(len(context.ids)))
    found: list[Expected] = []
    for (first, last), score in sorted(left.items(), key=lambda item: (-item[1], item[0])):
        start, end = whole(context.text, *context.characters(first, last), align_to_words=options.align_to_words)
        if start == end or not free >= set(range(first, last + 1)):
            continue
        if any(start < other.end and other.start < end for other in found):
            continue
        if found and not any(unicodedata.category(char)[0] in "LNS" for char in context.text[start:end]):
            continue
        taken = set(range(first, last + 1))
        for step, tokens in ((-1, range(first - 1, -1, -1)), (1, range(last + 1, len(context.ids)))):
            for token in tokens:
                begin, stop = context.characters(token, token)
                if token not in free or not (begin < end if step > 0 else stop > start):
                    break
                taken.add(token)
        free -= taken
        members = [tokens for tokens in left if taken & set(range(tokens[0], tokens[1] + 1))]
        found.append(Expected(start, end, score, [left.pop(tokens) for tokens in members]))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.3, 3.0])
@given(context=TEXTS, options=DISTINCT, seed=st.integers(0, 99))
def test_groups_equal_brute_force(
    kind: str, temperature: float, context: str, options: Options, seed: int
) -> None:
    example = cut(KINDS[kind], context, options)
    rows = random_rows(example, seed)
    found = predict(example, rows, options, temperature)
    expected = every_group(rows, options)[: options.n_best]
    places = [(answer.start, answer.end, answer.score) for answer in found.answers]
    assert places == [group[:3] for group in expected]
    total = log_total(rows, options, temperature)
    for answer, group in zip(found.answers, expected, strict=True):
        share = math.fsum(math.exp(score / temperature - total) for score in group.members)
        assert answer.probability == pytest.approx(share, rel=1e-9)
    assert sum(answer.probability for answer in found.answers) + found.null_probability <= 1 + 1e-9


@given(context=TEXTS, options=DISTINCT, seed=st.integers(0, 99))
def test_no_two_answers_overlap_and_the_first_is_the_best_of_all_spans(
    context: str, options: Options, seed: int
) -> None:
    example = cut(KINDS["bert"], context, options)
    rows = random_rows(example, seed)
    found = predict(example, rows, options).answers
    places = sorted((answer.start, answer.end) for answer in found)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))
    assert [answer.score for answer in found] == sorted((answer.score for answer in found), reverse=True)
    [*best] = predict(example, rows, replace(options, overlapping=True, n_best=1)).answers
    assert [answer.text for answer in found[:1]] == [answer.text for answer in best]


def test_the_forms_of_an_answer_are_one_and_their_probabilities_add_up() -> None:
    options = Options(max_answer_length=2)
    example, rows = byte_rows("a+b", [3.0, 2.0, 1.0], options)
    several = {
        (answer.text, answer.start): answer.probability
        for answer in predict(example, rows, replace(options, overlapping=True)).answers
    }
    assert len(several) == 5
    found = predict(example, rows, options).answers
    assert [(answer.text, answer.score) for answer in found] == [("a", 6.0), ("+", 4.0), ("b", 2.0)]
    forms = {"a": [("a", 0), ("a+", 0)], "+": [("+", 1), ("+b", 1)], "b": [("b", 2)]}
    for answer in found:
        assert answer.probability == pytest.approx(math.fsum(several[form] for form in forms[answer.text]))


def test_an_answer_that_was_widened_to_a_word_takes_all_of_its_tokens() -> None:
    """The tokens of the best span are a part of a word; another part is no second answer."""
    options = Options(max_answer_length=1)
    example, rows = byte_rows("owls+a", [4.0, 3.0, 2.0, 1.0, 0.0, -1.0][: token_count("owls+a")], options)
    found = predict(example, rows, options).answers
    assert [answer.text for answer in found] == ["owls", "+", "a"]
    unaligned = predict(example, rows, replace(options, align_to_words=False)).answers
    assert len(unaligned) == token_count("owls+a")


def test_punctuation_alone_is_an_answer_only_as_the_best_span() -> None:
    options = Options(max_answer_length=1)
    for best, texts in ((9.0, ["-", "+", "a"]), (1.0, ["+", "a"])):
        example, rows = byte_rows("-+a", [best, 2.0, 1.0], options)
        assert [answer.text for answer in predict(example, rows, options).answers] == texts


def token_count(text: str) -> int:
    [window] = cut(KINDS["roberta"], text, Options()).windows
    return len(window.context.ids)


def test_blank_spans_are_no_answers_and_the_search_behind_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(n_best=1, max_answer_length=2, across_blocks=True)
    example, rows = byte_rows("\n\n\n\na", [9.0, 9.0, 9.0, 9.0, 0.0], options)
    [answer] = predict(example, rows, options).answers
    assert (answer.text, answer.start, answer.end, answer.score) == ("a", 4, 5, 9.0)
    monkeypatch.setattr(groups, "_MOST_REFUSED", 1)
    assert predict(example, rows, options).answers == ()


def test_sums_that_no_float_holds_do_not_spoil_the_shares() -> None:
    """The best start and the best end lie too far apart for one span, and exp of all spans underflows."""
    options = Options(max_answer_length=1)
    example, rows = byte_rows("+" * 3, [0.0, 0.0, 0.0], options)
    [(window, start, end)] = rows
    start[window.first], end[window.last] = 2000.0, 2000.0
    start[window.first + 1] = end[window.first + 1] = 999.0
    start[window.cls] = end[window.cls] = -9.0
    found = predict(example, [type(rows[0])(window, start, end)], options).answers
    assert [answer.score for answer in found] == [2000.0, 2000.0, 1998.0]
    assert [answer.probability for answer in found] == pytest.approx(
        [1 / (2 + math.exp(-2))] * 2 + [0.0634], abs=1e-3
    )
    assert np.isfinite([answer.probability for answer in found]).all()
