"""The nearest passage: its words beside an alignment with every passage, and where it stands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx.documents.nearest import MOST_WORDS, NearPassage, WordChange, nearest_passage
from qa_onnx.documents.prepared_text import PreparedText
from qa_onnx.errors import InputError

LEASE = (
    "The lease runs for 12 months. Either side may end it with 30 days of written notice. "
    "The tenant pays the rent in advance. The café in the hall is open."
)


def near(quote: str, text: str | PreparedText = LEASE) -> NearPassage:
    passage = nearest_passage(quote, text)
    assert passage is not None
    return passage


def test_the_words_that_differ_are_named() -> None:
    passage = near("Either side may end it with 90 days of notice")
    assert passage.text == "Either side may end it with 30 days of written notice"
    assert passage.differences == (WordChange("90", "30"), WordChange("", "written"))
    assert passage.similarity == pytest.approx(9 / 11)
    assert LEASE[passage.start : passage.end] == passage.text


@pytest.mark.parametrize(
    ("quote", "differences"),
    [
        ("The lease does not run for 12 months.", [WordChange("does not run", "runs")]),
        ("The cafe in the hall", [WordChange("cafe", "café")]),
        ("THE TENANT must pay the rent", [WordChange("must pay", "pays")]),
        ("pays the rent late", [WordChange("late", "in")]),
        ("the rent, in advance", [WordChange(",", "")]),
    ],
)
def test_differences_read_as_in_quote_and_text(quote: str, differences: list[WordChange]) -> None:
    assert list(near(quote).differences) == differences


def test_chinese_is_compared_by_characters() -> None:
    passage = near("租金每年支付", "合同有效。租金每月支付。")
    assert (passage.text, passage.differences) == ("租金每月支付", (WordChange("年", "月"),))


def test_nothing_in_common_is_no_passage() -> None:
    assert nearest_passage("zebra", LEASE) is None
    assert nearest_passage("zebra", "") is None


def test_what_cannot_be_looked_for_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to look for"):
        nearest_passage(" ", LEASE)


def test_results_are_ready_for_json() -> None:
    assert json.loads(json.dumps(near("The lease ran").to_dict()))["differences"] == [
        {"quote": "ran", "text": "runs"}
    ]


def test_a_changed_quote_is_found_in_a_long_text() -> None:
    lines = [
        f"Clause {number} says that party {number * 7 % 1009} pays {number * 13} euros." for number in range(5_000)
    ]
    prepared = PreparedText("\n".join(lines))
    for number in (0, 1, 2_500, 4_999):
        quote = lines[number].replace("pays", "never pays")
        passage = near(quote, prepared)
        assert (passage.text, passage.differences) == (lines[number], (WordChange("never", ""),))


def changes(quote: list[str], passage: list[str]) -> int:
    """Words inserted, removed or replaced, by the recurrence of the textbook."""
    costs = list(range(len(passage) + 1))
    for row, word in enumerate(quote, 1):
        above, costs = costs, [row]
        for column, other in enumerate(passage):
            costs.append(min(above[column] + (word != other), above[column + 1] + 1, costs[-1] + 1))
    return costs[-1]


WORDS = st.lists(st.sampled_from(list("abcde")), min_size=1, max_size=12)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(WORDS, WORDS)
def test_no_passage_needs_fewer_changes(quote: list[str], text: list[str]) -> None:
    passage = nearest_passage(" ".join(quote), " ".join(text))
    if passage is None:
        # No word in common, or nothing that is cheaper than to leave out the whole quote.
        assert not set(quote) & set(text)
        return
    found = passage.text.split()
    cost = changes(quote, found)
    assert passage.similarity == pytest.approx(1 - cost / max(len(quote), len(found)))
    ranges = [text[start:end] for start in range(len(text)) for end in range(start + 1, len(text) + 1)]
    assert cost == min(changes(quote, some) for some in ranges)
    assert sum(max(len(part.quote.split()), len(part.text.split())) for part in passage.differences) == cost


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["a ", ".,", "a", "\u0301", "今", "a b c d e f g "])
def test_hostile_texts_are_compared_in_bounded_memory(unit: str) -> None:
    text = unit * (300_000 // len(unit))
    passage = nearest_passage((unit * 5_000)[:9_000] + " b", text)
    assert passage is None or len(passage.text) < 100 * MOST_WORDS
