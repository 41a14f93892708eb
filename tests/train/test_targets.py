"""Questions -> windows with target tokens: every case that data brings, on windows as inference cuts them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import Example, Options
from qa_onnx.data.squad import Gold, load
from qa_onnx.tokens.encoding import EncodedContext, Tokens
from qa_onnx.train.corpus import Tally
from qa_onnx.train.targets import NEARBY, AnswerLocation, build, choose, in_window, locate, targets, to_tokens
from tests import training_data

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Window, Windower
    from qa_onnx.train.targets import Target

EARS = " ".join(["ear"] * 80)
CONTEXT = "Barn owls hunt by sound. The left ear sits higher in the skull than the right one."
SHORT = Options(max_length=24, doc_stride=6, max_question_length=8)


def gold(context: str, *answers: tuple[str, int], question: str = "What is it?") -> Gold:
    texts, starts = zip(*answers, strict=True) if answers else ((), ())
    return Gold("q", question, context, texts, starts)


def cut(windower: Windower, question: Gold, options: Options = SHORT) -> tuple[Window, ...]:
    return windower.cut([Example(question.question, question.context)], options)[0].windows


def targets_of(
    windower: Windower, question: Gold, options: Options = SHORT
) -> tuple[list[Target], tuple[str, ...]]:
    return targets(question, cut(windower, question, options), random.Random(0))


def text_of(target: Target) -> str:
    """Map the target to text as inference does."""
    window = target.window
    shift = window.token_offset - window.first
    start, end = window.context.characters(target.start + shift, target.end + shift)
    return window.context.text[start:end].strip()


def text_in(window: Window) -> str:
    last = window.token_offset + window.last - window.first
    start, end = window.context.characters(window.token_offset, last)
    return window.context.text[start:end]


def is_cls(target: Target) -> bool:
    return target.start == target.end == target.window.cls


# Location of the answer


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("by sound", 15, AnswerLocation((15, 23))),
        ("Barn", 0, AnswerLocation((0, 4))),
        ("one.", 78, AnswerLocation((78, 82))),
        (" by sound", 14, AnswerLocation((15, 23), ("trimmed",))),
        ("by sound ", 15, AnswerLocation((15, 23), ("trimmed",))),
        (" by sound\n", 15, AnswerLocation((15, 23), ("trimmed",))),  # the blank is in the text alone
        ("by sound", 14, AnswerLocation((15, 23), ("moved",))),
        ("by sound", 15 + NEARBY, AnswerLocation((15, 23), ("moved",))),
        ("by sound", 16 + NEARBY, AnswerLocation(None, ("misplaced",))),
        ("by sound", 10_000, AnswerLocation(None, ("misplaced",))),
        ("the", 52, AnswerLocation(None, ("misplaced",))),  # stands twice nearby
        ("the", 53, AnswerLocation((53, 56))),  # and once exactly there
        ("by sound", -1, AnswerLocation((15, 23))),
        ("the", -1, AnswerLocation((53, 56), ("ambiguous",))),
        ("by night", 15, AnswerLocation(None, ("absent",))),
        ("by night", -1, AnswerLocation(None, ("absent",))),
        ("BY SOUND", 15, AnswerLocation(None, ("absent",))),
    ],
)
def test_the_location_of_an_answer(text: str, start: int, expected: AnswerLocation) -> None:
    assert locate(CONTEXT, text, start) == expected
    assert locate("x aaa y", "aa", -1) == AnswerLocation((2, 4), ("ambiguous",))  # overlaps count


def test_the_span_that_most_answers_name_is_chosen_of_equals_the_first() -> None:
    one, other = ("left ear", 29), ("The left ear", 25)
    assert choose(gold(CONTEXT, other, one, one)).span == (29, 37)
    assert choose(gold(CONTEXT, other, one)).span == (25, 37)
    assert choose(gold(CONTEXT, ("nowhere", 3), one)).span == (29, 37)
    assert choose(gold(CONTEXT, ("nowhere", 3), ("nor here", 3))).kinds == ("absent",)


# Windows


@pytest.mark.parametrize(
    ("context", "answer", "text", "kinds"),
    [
        (CONTEXT, ("the skull", 53), "the skull", ("answerable",)),
        (CONTEXT, ("Barn", 0), "Barn", ("answerable",)),
        (CONTEXT, (CONTEXT, 0), CONTEXT, ("answerable",)),
        (CONTEXT, ("one.", 78), "one.", ("answerable",)),
        (CONTEXT, (".", 81), ".", ("answerable",)),
        (CONTEXT, (" by sound", 13), "by sound", ("answerable", "trimmed", "moved")),
        ("Only the owl.", ("he", 6), "the", ("answerable", "widened")),
        (CONTEXT, ("by night", 3), None, ("absent",)),
        (CONTEXT, ("by sound", 10_000), None, ("misplaced",)),
        ("a \0\1 b", ("\0\1", 2), None, ("no token",)),  # the tokenizer drops control characters
        (EARS, (EARS, 0), None, ("cut",)),
    ],
)
def test_the_target_of_an_answer(
    context: str, answer: tuple[str, int], text: str | None, kinds: tuple[str, ...], windower: Windower
) -> None:
    options = SHORT if context == EARS else Options()
    chosen, counted = targets_of(windower, gold(context, answer), options)
    assert counted == kinds
    assert [text_of(target) for target in chosen] == ([] if text is None else [text])
    assert all(target.window.first <= target.start <= target.end <= target.window.last for target in chosen)


def test_every_window_that_holds_the_whole_answer_has_it_as_target_the_others_cls(windower: Windower) -> None:
    text = " ".join(f"w{number}" for number in range(60))
    windows = cut(windower, gold(text))
    assert len(windows) > 8
    whole_in_two = 0
    for number in range(60):
        start = text.index(f"w{number}")
        question = gold(text, (f"w{number}", start))
        chosen, kinds = targets_of(windower, question)
        answers = [target for target in chosen if not is_cls(target)]
        whole_in_two += len(answers) == 2
        assert kinds == ("answerable",)
        assert {text_of(target) for target in answers} == {f"w{number}"}
        assert sum(is_cls(target) for target in chosen) == 1  # of many windows without it, one
        holding = [w for w in windows if in_window(w, to_tokens(w.context, (start, start + len(f"w{number}"))))]  # type: ignore[arg-type]
        assert [target.window.token_offset for target in answers] == [w.token_offset for w in holding]
    assert whole_in_two > 5


@pytest.mark.parametrize(
    ("span", "expected"),
    [((0, 1), (1, 1)), ((0, 3), (1, 4)), ((1, 2), (3, 3)), ((2, 3), (4, 4)), ((0, 2), (1, 3)), ((3, 4), None)],
)
def test_tokens_without_characters_belong_to_no_answer(
    span: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    """Such as the blank that a tokenizer puts before the text."""
    offsets = np.array([(0, 0), (0, 1), (1, 1), (1, 2), (2, 3), (2, 2), (3, 3)], np.int32)
    tokens = Tokens(
        np.zeros(len(offsets), np.int32), offsets=lambda: offsets, opens=lambda: np.ones(len(offsets), np.bool_)
    )
    assert to_tokens(EncodedContext("owl ", tokens.ids.astype(np.int64), tokens), span) == expected


def test_an_answer_across_a_border_is_whole_in_the_neighbour(windower: Windower) -> None:
    windows = cut(windower, gold(EARS))
    border = windows[1].token_offset + windows[1].last - windows[1].first  # the last token of the second window
    start, end = windows[0].context.characters(border - 1, border + 1)
    chosen, _ = targets_of(windower, gold(EARS, (EARS[start:end], start)))
    assert [t.window.token_offset for t in chosen if not is_cls(t)] == [windows[2].token_offset]


@pytest.mark.parametrize(("right", "negatives"), [((), 1), (("the",), 0)])
def test_a_window_that_shows_a_right_answer_never_teaches_that_there_is_none(
    right: tuple[str, ...], negatives: int, windower: Windower
) -> None:
    """Neither another answer to the question, nor the same one elsewhere, nor that of another row of the data."""
    filler = "The ear hears a sound. " * 8
    context = f"{filler}It ends soon. {filler}It ends  Late. {filler}It ends soon. {filler}"
    question = gold(context, ("soon", context.index("soon")), ("Late", context.index("Late")))
    windows = cut(windower, question)
    for seed in range(50):
        chosen, _ = targets(question, windows, random.Random(seed), right=right)
        shown = [text_in(target.window) for target in chosen if is_cls(target)]
        assert len(shown) == negatives
        assert not any(answer in text for text in shown for answer in ("soon", "Late"))


def test_a_row_that_another_row_contradicts_is_left_out(windower: Windower) -> None:
    rows = [gold("It ends late.", question="When?"), gold("It ends late.", ("late", 8), question="when?")]
    tally = Tally()
    assert len(build(rows, windower, Options(), tally=tally, seed=0)) == 1
    assert tally.counts == {"contradicted": 1, "answerable": 1}


def test_an_unanswerable_question_has_cls_in_one_window_chosen_by_seed(windower: Windower) -> None:
    question = gold(EARS)
    windows = cut(windower, question)
    drawn = [targets(question, windows, random.Random(seed))[0] for seed in range(30)]
    assert all(len(chosen) == 1 and is_cls(chosen[0]) for chosen in drawn)
    assert len({chosen[0].window.token_offset for chosen in drawn}) > 3
    assert targets(question, windows, random.Random(3)) == (drawn[3], ("unanswerable",))


def test_the_empty_context_of_an_unanswerable_question(windower: Windower) -> None:
    chosen, kinds = targets_of(windower, gold(""))
    assert kinds == ("unanswerable",)
    assert is_cls(chosen[0])


# Features


def test_features_are_the_windows_of_inference_with_their_targets(windower: Windower, tmp_path: Path) -> None:
    golds = load(training_data.write(tmp_path / "data.json", articles=50)).golds  # more than are cut together
    features = build(golds, windower, SHORT, tally=Tally(), seed=3)
    draw = random.Random(3)
    cut = windower.cut([Example(gold.question, gold.context) for gold in golds], SHORT)
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


def test_questions_are_counted_by_kind(windower: Windower) -> None:
    context = "The bridge hangs from a steel mast."
    golds = [
        gold(context, ("bridge", 4)),
        gold(context, ("bridge", 5)),
        gold(context, question="Who?"),
        gold(context, ("the mill", 4)),
    ]
    tally = Tally()
    features = build(golds, windower, Options(), tally=tally, seed=0)
    assert tally.counts == {"answerable": 2, "moved": 1, "unanswerable": 1, "absent": 1}
    assert tally.named["absent"] == ["q"]
    assert len(features) == 3


# The property: what inference reads from the target is the answer

words = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\u0000"), min_size=1, max_size=8),
    min_size=1,
    max_size=40,
)


@given(words, st.data())
def test_the_target_maps_back_to_the_answers_text(
    windower: Windower, pieces: list[str], data: st.DataObject
) -> None:
    text = " ".join(pieces)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    if not text[start:end].strip():
        return
    chosen, kinds = targets_of(windower, gold(text, (text[start:end], start)))
    location = locate(text, text[start:end], start)
    assert location.span is not None
    left, right = location.span
    assert text[left:right] == text[start:end].strip()
    answers = [target for target in chosen if not is_cls(target)]
    assert bool(answers) == ("answerable" in kinds)
    for target in answers:
        window = target.window
        shift = window.token_offset - window.first
        assert (text_of(target) == text[left:right]) == ("widened" not in kinds)
        # No fewer tokens: each edge token shows a part of the answer.
        first = window.context.characters(target.start + shift, target.start + shift)
        last = window.context.characters(target.end + shift, target.end + shift)
        assert first[1] > left
        assert last[0] < right
        # And all of its characters that are in any token are covered.
        for token, (begin, stop) in enumerate(window.context.tokens.offsets.tolist()):
            inside = target.start + shift <= token <= target.end + shift
            assert inside or stop <= left or begin >= right or begin == stop
