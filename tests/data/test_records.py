"""A record becomes an example by one set of rules, and what is repaired is counted."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.data.gold import Repairs
from qa_onnx.data.records import Record, to_gold
from qa_onnx.errors import quoted

CONTEXT = "On the mill stood a mill clock. \U0001f600 Marta Linden wound it."
NAN = math.nan


def gold_of(answers: Any, **fields: Any) -> tuple[tuple[str, ...], tuple[int, ...], dict[str, int]]:
    repairs = Repairs()
    gold = to_gold(Record("line 1", {"question": "?", "context": CONTEXT, "answers": answers, **fields}), repairs)
    return gold.answers, gold.answer_starts, repairs.counts


def answer(start: Any, text: Any = "Marta Linden") -> list[dict[str, Any]]:
    return [{"text": text, "answer_start": start}]


@pytest.mark.parametrize(
    ("start", "place", "repairs"),
    [
        (34, 34, {}),
        (None, -1, {}),
        (NAN, -1, {}),
        (-1, -1, {}),
        (-7, -1, {}),
        (34.0, 34, {"numbers": 1}),
        ("34", 34, {"numbers": 1}),
        (" 34.0 ", 34, {"numbers": 1}),
        (0, 34, {"moved": 1}),
        (35, 34, {"moved": 1}),  # counted in UTF-16
        ("99999", 34, {"numbers": 1, "moved": 1}),
    ],
)
def test_where_an_answer_starts(start: Any, place: int, repairs: dict[str, int]) -> None:
    assert gold_of(answer(start)) == (("Marta Linden",), (place,), repairs)


def test_an_answer_that_cannot_be_found_for_sure_stays_where_the_data_says() -> None:
    assert gold_of(answer(3, "mill")) == (("mill",), (3,), {})  # twice in the context
    assert gold_of(answer(3, "Ida")) == (("Ida",), (3,), {})  # never
    assert gold_of(answer(34, "Marta Linden\t")) == (("Marta Linden\t",), (34,), {})  # with a blank of its own
    assert gold_of(answer(0, " Marta Linden\t")) == ((" Marta Linden\t",), (34,), {"moved": 1})


@pytest.mark.parametrize("blank", ["", "  ", "\n", None, NAN])
def test_a_blank_answer_is_none(blank: Any) -> None:
    for answers in (
        answer(0, blank),
        answer(None, blank),
        {"text": [blank], "answer_start": [0]},
        {"text": blank},
    ):
        assert gold_of(answers) == ((), (), {"blank": 1})
        assert gold_of(answers, is_impossible=True) == ((), (), {"blank": 1})
    both = answer(0, blank) + answer(34)
    assert gold_of(both) == (("Marta Linden",), (34,), {"blank": 1})


@pytest.mark.parametrize("absent", [None, NAN])
def test_null_and_nan_of_optional_fields_are_as_absent(absent: Any) -> None:
    fields = dict.fromkeys(("id", "title", "is_impossible"), absent)
    assert gold_of(answer(34), **fields) == gold_of(answer(34)) == (("Marta Linden",), (34,), {})
    assert gold_of({"text": ["Marta Linden"], "answer_start": absent}) == (("Marta Linden",), (-1,), {})
    assert gold_of(absent, is_impossible=True) == ((), (), {})
    assert gold_of(absent, answer="Marta Linden") == (("Marta Linden",), (-1,), {})


@pytest.mark.parametrize("value", [True, 1, 1.0, "true", "True", "1"])
def test_a_truth_may_be_a_number_or_text(value: Any) -> None:
    assert gold_of([], is_impossible=value) == ((), (), {})
    with pytest.raises(ValueError, match="is_impossible is True with 1 answers"):
        gold_of(answer(34), is_impossible=value)


@given(st.recursive(st.none() | st.text() | st.floats() | st.integers(), st.lists, max_leaves=50))
def test_a_quote_has_at_most_80_characters(value: Any) -> None:
    assert len(quoted(value)) <= 80
    assert len(quoted({"key": value, "x" * 200: "y" * 200})) <= 80


@given(
    context=st.text(st.sampled_from("ab \U0001f600e\u0301"), max_size=12),
    text=st.text(st.sampled_from("ab \U0001f600"), min_size=1, max_size=3),
    start=st.integers(-2, 14),
)
def test_a_moved_answer_is_at_its_only_place(context: str, text: str, start: int) -> None:
    repairs = Repairs()
    fields = {"question": "?", "context": context, "answers": answer(start, text)}
    gold = to_gold(Record("line 1", fields), repairs)
    if "moved" in repairs.counts:
        (place,) = gold.answer_starts
        assert context.startswith(text if text in context else text.strip(), place)
        assert context.count(text) <= 1
        assert start >= 0
        assert not context.startswith(text, start)
    elif gold.answers:
        assert gold.answer_starts == (max(start, -1),)
