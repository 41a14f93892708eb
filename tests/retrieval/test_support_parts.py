"""Parts of claims, their questions, and when an answer says the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.retrieval.support_parts import agrees, is_negated, parts_of, stands_in, values_of


@pytest.mark.parametrize(
    ("claim", "parts"),
    [
        ("The tower was built in 1912 by Ada Holm.", [("year", "1912"), ("name", "Ada Holm")]),
        ("Ada Holm died in 212 BC.", [("name", "Ada Holm"), ("year", "212 BC")]),
        ("It opened on 3 March 1887, not on May 4th.", [("date", "3 March 1887"), ("date", "May 4th")]),
        ("The bill passed in December 2009.", [("date", "December 2009")]),
        ("It cost $1.5 million, 30% more.", [("number", "$1.5 million"), ("number", "30%")]),
        ("They sold twenty-five boats.", [("number", "twenty-five")]),
        ("H.L. Hazen of the U.S. House knew it.", [("name", "H.L. Hazen of the U.S. House")]),
        ("The BBC's studio is in Ålesund.", [("name", "BBC"), ("name", "Ålesund")]),
        ("The lamp is called the “old lady” there.", [("quoted", "old lady")]),
        ("The house is led by a speaker.", [("end", "speaker")]),
        ("the sea rose", []),
        ("", []),
    ],
)
def test_parts_of_a_claim(claim: str, parts: list[tuple[str, str]]) -> None:
    found = parts_of(claim)
    assert [(part.kind, part.text) for part in found] == parts
    assert all(claim[part.start : part.end] == part.text for part in found)


@pytest.mark.parametrize(
    ("claim", "questions"),
    [
        (
            "The tower was built in 1912 by Ada Holm.",
            ["The tower was built in what year by Ada Holm?", "The tower was built in 1912 by who or what?"],
        ),
        ("Ida left on 3 March 1887.", ["Who or what left on 3 March 1887?", "Ida left when?"]),
        ("12 rooms cost $40.", ["How many rooms cost $40?", "12 rooms cost how much?"]),
        ("It fell by 30%.", ["It fell by what percentage?"]),
        ("The house is led by a speaker!", ["The house is led by what?"]),
        ('It is the "old lady".', ['It is the "what"?']),
    ],
)
def test_a_question_asks_for_its_part(claim: str, questions: list[str]) -> None:
    assert [part.question for part in parts_of(claim)] == questions


@given(st.text(max_size=200))
def test_parts_of_any_text_stand_in_it_in_order(claim: str) -> None:
    end = 0
    for part in parts_of(claim):
        assert end <= part.start < part.end
        assert claim[part.start : part.end] == part.text
        end = part.end


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("12,000 people", {12000}),
        ("twelve thousand", {12000}),
        ("twenty-five", {25}),
        ("1.5 million", {1_500_000}),
        ("about 3.5, then 1,2", {3.5, 1.2}),
        ("a million", {1_000_000}),
        ("10 m² of ½ an acre", {10}),
        ("nobody", set()),
    ],
)
def test_values_of_numbers(text: str, values: set[float]) -> None:
    assert values_of(text) == values


@pytest.mark.parametrize(
    ("claim", "answer", "same"),
    [
        ("About twelve thousand came.", "12,000", True),
        ("About twelve thousand came.", "1,200", False),
        ("It opened on 3 March 1887.", "March 1887", True),
        ("It opened on 3 March 1887.", "3 May 1887", False),
        ("It was built in 1912.", "the spring of 1912", True),
        ("It was built by Ada Holm.", "the engineer Ada Holm", True),
        ("It was built by Ada Holm.", "Holm", True),
        ("It was built by Ada Holm.", "Bo Holm", False),
        ("It was built by Ada Holm of North Hill.", "Holm", False),
        ("It was built by Ada Holm.", "the", False),
    ],
)
def test_an_answer_agrees_by_value_or_by_words(claim: str, answer: str, *, same: bool) -> None:
    assert agrees(parts_of(claim)[-1], answer) is same


def test_a_part_stands_in_a_text_with_other_endings_or_digits() -> None:
    [number] = parts_of("Two thousand boats left.")
    assert stands_in(number, "More than 2,000 of them left.")
    assert not stands_in(number, "More than 200 of them left.")
    [price, _] = parts_of("It costs 2,900 euros of ours.")
    assert not stands_in(price, "It costs 2,700 or 900 euros.")
    [name, _] = parts_of("The Northern Lights were seen in 1912.")
    assert stands_in(name, "a northern light")
    assert not stands_in(name, "a light")


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("It was not built.", True),
        ("It wasn’t built.", True),
        ("It was never not built.", False),
        ("It was built as No. 5 of the row.", False),
        ("It was noted.", False),
    ],
)
def test_negation(text: str, *, negated: bool) -> None:
    assert is_negated(text) is negated
