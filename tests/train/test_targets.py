"""Answers -> target tokens: every case that data brings, on windows as inference cuts them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import Example, Options
from qa_onnx.data.squad import Gold
from qa_onnx.train.targets import NEARBY, AnswerLocation, choose, in_window, locate, targets, to_tokens

if TYPE_CHECKING:
    from qa_onnx import Window, Windower
    from qa_onnx.train.targets import Target

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


def test_an_occurrence_that_overlaps_itself_counts_as_two() -> None:
    assert locate("x aaa y", "aa", -1) == AnswerLocation((2, 4), ("ambiguous",))


def test_the_span_that_most_answers_name_is_chosen_of_equals_the_first() -> None:
    one, other = ("left ear", 29), ("The left ear", 25)
    assert choose(gold(CONTEXT, other, one, one)).span == (29, 37)
    assert choose(gold(CONTEXT, other, one)).span == (25, 37)
    assert choose(gold(CONTEXT, ("nowhere", 3), one)).span == (29, 37)
    assert choose(gold(CONTEXT, ("nowhere", 3), ("nor here", 3))).kinds == ("absent",)


# Windows


def test_the_target_in_one_window(windower: Windower) -> None:
    (target,), kinds = targets_of(windower, gold(CONTEXT, ("the skull", 53)), Options())
    assert kinds == ("answerable",)
    assert text_of(target) == "the skull"


@pytest.mark.parametrize("text", ["Barn", CONTEXT, "one.", "."])
def test_at_the_edges_of_the_context(windower: Windower, text: str) -> None:
    question = gold(CONTEXT, (text, CONTEXT.rindex(text)))
    (target,), _ = targets_of(windower, question, Options())
    assert text_of(target) == text
    assert target.start >= target.window.first
    assert target.end <= target.window.last


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


def test_an_answer_across_a_border_is_whole_in_the_neighbour(windower: Windower) -> None:
    text = " ".join(["ear"] * 80)
    windows = cut(windower, gold(text))
    border = windows[1].token_offset + windows[1].last - windows[1].first  # the last token of the second window
    start, end = windows[0].context.characters(border - 1, border + 1)
    chosen, _ = targets_of(windower, gold(text, (text[start:end], start)))
    assert [t.window.token_offset for t in chosen if not is_cls(t)] == [windows[2].token_offset]


def test_an_answer_that_no_window_holds_is_left_out(windower: Windower) -> None:
    text = " ".join(["ear"] * 80)
    assert targets_of(windower, gold(text, (text, 0))) == ([], ("cut",))


def test_an_unanswerable_question_has_cls_in_one_window_chosen_by_seed(windower: Windower) -> None:
    question = gold(" ".join(["ear"] * 80))
    windows = cut(windower, question)
    drawn = [targets(question, windows, random.Random(seed))[0] for seed in range(30)]
    assert all(len(chosen) == 1 and is_cls(chosen[0]) for chosen in drawn)
    assert len({chosen[0].window.token_offset for chosen in drawn}) > 3
    assert targets(question, windows, random.Random(3)) == (drawn[3], ("unanswerable",))


def test_a_missing_answer_has_no_target(windower: Windower) -> None:
    assert targets_of(windower, gold(CONTEXT, ("by night", 3))) == ([], ("absent",))
    assert targets_of(windower, gold(CONTEXT, ("by sound", 10_000))) == ([], ("misplaced",))


def test_an_answer_that_the_tokenizer_drops_is_left_out(windower: Windower) -> None:
    dropped = "\u0000\u0001"  # control characters
    assert targets_of(windower, gold(f"a {dropped} b", (dropped, 2))) == ([], ("no token",))


def test_a_part_of_a_token_takes_all_of_it(windower: Windower) -> None:
    (target,), kinds = targets_of(windower, gold("Only the owl.", ("he", 6)), Options())
    assert kinds == ("answerable", "widened")
    assert text_of(target) == "the"


def test_repairs_are_counted(windower: Windower) -> None:
    assert targets_of(windower, gold(CONTEXT, (" by sound", 13)), Options())[1] == (
        "answerable",
        "trimmed",
        "moved",
    )


def test_the_empty_context_of_an_unanswerable_question(windower: Windower) -> None:
    chosen, kinds = targets_of(windower, gold(""))
    assert kinds == ("unanswerable",)
    assert is_cls(chosen[0])


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
        low, high = window.context.characters(target.start + shift, target.end + shift)
        exact = text[low:high].strip() == text[left:right]
        assert exact == ("widened" not in kinds)
        # No fewer tokens: each edge token shows a part of the answer.
        first = window.context.characters(target.start + shift, target.start + shift)
        last = window.context.characters(target.end + shift, target.end + shift)
        assert first[1] > left
        assert last[0] < right
        # And all of its characters that are in any token are covered.
        for at in range(left, right):
            token = window.context.encoding.char_to_token(at)
            assert token is None or target.start + shift <= token <= target.end + shift
