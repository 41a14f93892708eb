"""Answers: the spans of all windows become the exact n best texts, and their probabilities one softmax."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import Answer, Example, InputError, Options, Prediction, Windower, groups
from qa_onnx.answers import find_spans, make_prediction
from qa_onnx.spans import WindowLogits
from qa_onnx.tokens.boundaries import whole
from tests import tiny

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qa_onnx.windows import CutExample

Characters: TypeAlias = "tuple[int, int]"

KINDS = {kind: Windower(tiny._tokenizer(kind)[0].to_str()) for kind in ("bert", "roberta", "xlm-roberta")}
TEXTS = st.lists(st.sampled_from(["owl", "hunts", " ", "  ", "\n", "🍮", "é", "-", "東", "a"]), max_size=25).map(
    "".join
)


def every_span(rows: Iterable[WindowLogits], options: Options) -> dict[tuple[int, int], float]:
    """The best score of every distinct (first token, last token) of a context, over all of its windows."""
    best: dict[tuple[int, int], float] = {}
    for window, start, end in rows:
        shift = window.token_offset - window.first
        blocks = () if options.across_blocks else window.context.blocks
        for i in range(window.first, window.last + 1):
            for j in range(i, min(i + options.max_answer_length, window.last + 1)):
                if any(i + shift < block <= j + shift for block in blocks):
                    break
                score = float(start[i]) + float(end[j])
                best[i + shift, j + shift] = max(score, best.get((i + shift, j + shift), score))
    return best


def every_answer(rows: Sequence[WindowLogits], options: Options) -> list[tuple[Characters, float]]:
    """All answers with their scores, best first, each text's place once."""
    found: dict[Characters, float] = {}
    context = rows[0].window.context
    spans = every_span(rows, options)
    for tokens, score in sorted(spans.items(), key=lambda item: (-item[1], item[0])):
        start, end = whole(context.text, *context.characters(*tokens), align_to_words=options.align_to_words)
        if start < end:
            found.setdefault((start, end), score)
    return list(found.items())


def log_total(rows: Sequence[WindowLogits], options: Options, temperature: float = 1.0) -> float:
    """Logarithm of the sum of exp(score / temperature) over all distinct spans and "no answer"."""
    null_score = min(float(start[window.cls]) + float(end[window.cls]) for window, start, end in rows)
    scores = [*every_span(rows, options).values(), null_score]
    highest = max(scores)
    return highest / temperature + math.log(
        math.fsum(math.exp((score - highest) / temperature) for score in scores)
    )


def predict(
    example: CutExample, rows: Sequence[WindowLogits], options: Options, temperature: float = 1.0
) -> Prediction:
    """What the search finds in the rows, merged."""
    searched = list(find_spans(rows, options))
    return make_prediction(example, searched, options, temperature=temperature)


def random_rows(cut: CutExample, seed: int) -> list[WindowLogits]:
    """Logits of few values, so that many scores are equal."""
    random = np.random.default_rng(seed)
    return [
        WindowLogits(window, *random.integers(-3, 4, (2, len(window.input_ids))).astype(np.float32))
        for window in cut.windows
    ]


def cut(windower: Windower, context: str, options: Options) -> CutExample:
    [example] = windower.cut([Example("a", context)], options)
    return example


@st.composite
def narrow_options(draw: st.DrawFn) -> Options:
    room = draw(st.integers(1, 12))
    return Options(
        max_length=8 + 4 + room,
        max_question_length=8,
        doc_stride=draw(st.integers(0, room - 1)),
        n_best=draw(st.integers(1, 30)),
        max_answer_length=draw(st.integers(1, 10)),
        overlapping=True,
        across_blocks=draw(st.booleans()),
        align_to_words=draw(st.booleans()),
    )


@pytest.mark.parametrize("kind", KINDS)
@given(context=TEXTS, options=narrow_options(), seed=st.integers(0, 99))
def test_answers_of_all_windows_equal_brute_force(kind: str, context: str, options: Options, seed: int) -> None:
    example = cut(KINDS[kind], context, options)
    rows = random_rows(example, seed)
    prediction = predict(example, rows, options)
    found = [((answer.start, answer.end), answer.score) for answer in prediction.answers]
    assert found == every_answer(rows, options)[: options.n_best]
    assert all(answer.text == context[answer.start : answer.end] for answer in prediction.answers)


@pytest.mark.parametrize("temperature", [1.0, 0.25, 3.0])
@given(context=TEXTS, options=narrow_options(), seed=st.integers(0, 99))
def test_probability_is_one_softmax_over_all_distinct_spans_and_no_answer(
    temperature: float, context: str, options: Options, seed: int
) -> None:
    example = cut(KINDS["bert"], context, options)
    rows = random_rows(example, seed)
    prediction = predict(example, rows, options, temperature)
    total = log_total(rows, options, temperature)
    for answer in prediction.answers:
        assert answer.probability == pytest.approx(math.exp(answer.score / temperature - total), rel=1e-9)
    assert prediction.null_probability == pytest.approx(math.exp(prediction.null_score / temperature - total))
    assert sum(answer.probability for answer in prediction.answers) + prediction.null_probability <= 1 + 1e-9


def test_a_span_of_two_windows_counts_once_with_its_best_score() -> None:
    """One letter a token, seven letters, windows of four that share two."""
    options = Options(
        max_length=9, max_question_length=2, doc_stride=2, max_answer_length=2, n_best=3, overlapping=True
    )
    example = cut(KINDS["bert"], "a b c d e f g", replace(options, max_length=8))
    assert [window.token_offset for window in example.windows] == [0, 2, 4]
    rows: list[WindowLogits] = []
    for window in example.windows:
        start, end = np.full((2, len(window.input_ids)), -5, np.float32)
        for token, logit in ((3, 2.0), (6, 1.0)):
            at = token - window.token_offset + window.first
            if window.first <= at <= window.last:
                start[at] = end[at] = logit
        rows.append(WindowLogits(window, start, end))
    rows[0].start[rows[0].window.first + 3] += 0.5  # token 3 is in the first two windows
    for (window, start, end), null in zip(rows, (1.5, -2.0, 0.5), strict=True):
        start[window.cls], end[window.cls] = null, null / 2
    prediction = predict(replace(example, warnings=("mind the gap",)), rows, options)
    assert [(answer.text, answer.score) for answer in prediction.answers] == [
        ("d", 4.5),
        ("g", 2.0),
        ("c d", -3.0),
    ]
    assert prediction.null_score == -3.0, "the least of the windows"
    assert prediction.warnings == ("mind the gap",)


def byte_rows(context: str, logits: list[float], options: Options) -> tuple[CutExample, list[WindowLogits]]:
    """One window of the byte-level tokenizer with one logit a context token, for both sides."""
    example = cut(KINDS["roberta"], context, options)
    [window] = example.windows
    assert len(logits) == window.last - window.first + 1
    start = np.full(len(window.input_ids), -9, np.float32)
    start[window.first : window.last + 1] = logits
    return example, [WindowLogits(window, start, start.copy())]


def test_blank_spans_are_no_answers_even_when_they_score_best(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(n_best=1, max_answer_length=2, overlapping=True, across_blocks=True)
    example, rows = byte_rows("\n\n\n\na", [9.0, 9.0, 9.0, 9.0, 0.0], options)
    prediction = predict(example, rows, options)
    [answer] = prediction.answers
    assert (answer.text, answer.start, answer.end, answer.score) == ("a", 4, 5, 9.0)
    assert prediction.choose(None) == answer
    monkeypatch.setattr(groups, "_SEARCH_LIMIT", 0)  # the search behind blanks is bounded
    assert predict(example, rows, replace(options, max_answer_length=1)).answers == ()


def test_bytes_of_one_character_give_one_answer_and_leave_room_for_the_next() -> None:
    options = Options(n_best=2, max_answer_length=9, overlapping=True)
    example, rows = byte_rows("🦉-", [9.0, 9.0, 9.0, 9.0, 0.0], options)
    prediction = predict(example, rows, options)
    assert [(answer.text, answer.score) for answer in prediction.answers] == [("🦉", 18.0), ("🦉-", 9.0)]


@pytest.mark.parametrize("temperature", [1.0, 0.3, 3.0])
@pytest.mark.parametrize(
    ("start_logit", "end_logit"), [(30.0, 30.0), (592.3, 406.9), (1.6264538948016013e19, 7.934712743166424e19)]
)
def test_a_sure_answer_has_at_most_probability_1(start_logit: float, end_logit: float, temperature: float) -> None:
    options = Options()
    example = cut(KINDS["bert"], "a", options)
    [(window, start, end)] = random_rows(example, 0)
    start[window.first], end[window.first] = start_logit, end_logit  # 999.2 / 3 is not 592.3 / 3 + 406.9 / 3
    prediction = predict(example, [WindowLogits(window, start, end)], options, temperature)
    assert 0.999999 < prediction.answers[0].probability <= 1.0
    assert 0.0 <= prediction.null_probability < 1e-6


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_memory_of_a_search_does_not_grow_with_the_windows(windower: Windower, overlapping: bool) -> None:
    options = Options(max_length=384, doc_stride=8, n_best=200, max_answer_length=200, overlapping=overlapping)
    example = windower.cut([Example("a", "mast " * 9000)], options)[0]
    rows = random_rows(example, 0)
    assert len(rows) > 20
    peaks = []
    for some in (2 * rows, 8 * rows):
        tracemalloc.start()
        for _ in find_spans(some, options):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def prediction(*scores: float, null_score: float = 1.0) -> Prediction:
    found = tuple(Answer("text", 2, 6, score, 0.5) for score in scores)
    return Prediction(found, null_score, 0.25)


@pytest.mark.parametrize(
    ("threshold", "answered"),
    [(None, True), (3.0, True), (2.5, True), (2.0, False), (0.0, False), (math.inf, True), (-math.inf, False)],
)
def test_no_answer_wins_when_null_minus_best_is_greater_than_the_threshold(
    threshold: float | None, answered: bool
) -> None:
    chosen = prediction(-1.5, -9.0).choose(threshold)  # null - best = 2.5
    assert bool(chosen) is answered
    assert chosen == (Answer("text", 2, 6, -1.5, 0.5) if answered else Answer("", 0, 0, 1.0, 0.25))
    assert prediction().choose(threshold) == Answer("", 0, 0, 1.0, 0.25)


@pytest.mark.parametrize(("least", "state"), [(0.0, "answer"), (0.5, "answer"), (0.51, "unsure"), (1, "unsure")])
def test_an_answer_that_is_not_probable_enough_is_unsure(least: float, state: str) -> None:
    chosen = prediction(-1.5).choose(3.0, min_probability=least)
    assert (chosen.state, bool(chosen), chosen.text) == (state, state == "answer", "text")
    assert prediction(-1.5).choose(2.0, min_probability=least).state == "none"
    for wrong in (-0.1, 1.1, math.nan, True, "0.5"):
        with pytest.raises(InputError, match=r"^min_probability is .*; it must be a number from 0\.0 to 1\.0$"):
            prediction(-1.5).choose(None, min_probability=wrong)  # type: ignore[arg-type]


def test_the_json_of_a_prediction_holds_all_of_it() -> None:
    found = replace(prediction(-1.5), warnings=("mind the gap",))
    answer = {"text": "text", "start": 2, "end": 6, "score": -1.5, "probability": 0.5}
    assert found.answers[0].to_dict() == answer
    assert json.loads(json.dumps(found.to_dict())) == {
        "answers": [answer],
        "null_score": 1.0,
        "null_probability": 0.25,
        "warnings": ["mind the gap"],
    }
    assert "sure" not in found.choose(None, min_probability=0.9).to_dict()


def test_an_answer_is_truthy_only_with_text() -> None:
    assert Answer("0", 3, 4, -8.0, 0.0)
    assert not Answer("", 0, 0, 8.0, 1.0)
