"""Blocks of a text: paragraphs, list items, and the rows and cells of tables."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.tokens.blocks import block_starts
from tests.test_answers import KINDS, cut

CASES = [
    ("One line.", []),
    ("A line of prose that\nis broken anywhere.", []),
    ("A paragraph.\n\nThe next one.", ["The next one."]),
    ("A paragraph.\r\n \t\r\nThe next one.", ["The next one."]),
    ("A page ends in\n\fthe middle of a sentence.", []),
    ("Bring:\n- a coat\n- two pens", ["- a coat", "- two pens"]),
    ("Bring:\n  • a coat\n  • two pens", ["• a coat", "• two pens"]),
    ("1. Open it.\n2. Close it.\n(3) Wait.", ["2. Close it.", "(3) Wait."]),
    ("a) yes\nb) no", ["b) no"]),
    ("— Where?\n— There.", ["— There."]),
    ("He was born in\n1912. It rained.", []),
    ("It gives 90% to 93% O\n2. Simultaneously, O\n2. is released.", []),
    ("It was George\nW. Bush who met J.\nK. Rowling.", []),
    ("Choose:\nB. Paris\nC. Rome", ["B. Paris", "C. Rome"]),
    ("It fell by -\n-3 degrees.", []),
    ("Rent\t900 euros\nDeposit\t2,700 euros", ["900 euros", "Deposit", "2,700 euros"]),
    ("| Day | Opens |\n|---|---|\n| Monday | 9:00 |", ["Day", "Opens", "Monday", "9:00"]),
    ("Prices:\nRent\t900\nThat is all.", ["Rent", "900", "That is all."]),
    ("either a | b", []),
    ("", []),
    ("\n\n", []),
]


@pytest.mark.parametrize(("text", "blocks"), CASES)
def test_where_blocks_begin(text: str, blocks: list[str]) -> None:
    starts = block_starts(text)
    found = [text[start:stop] for start, stop in itertools.pairwise([*starts, len(text)])]
    assert [block.strip(" \t\n|") for block in found if any(map(str.isalnum, block))] == blocks


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.lists(st.sampled_from(["owl", " ", "\n", "- ", "\t", "|", "1. ", "é", "東", "🍮"])).map("".join))
def test_the_tokens_of_a_block_have_no_character_of_the_next(kind: str, text: str) -> None:
    from qa_onnx import Options

    starts = block_starts(text)
    assert starts == sorted(set(starts) - {0, len(text)})
    context = cut(KINDS[kind], text, Options()).windows[0].context
    for token in context.blocks:
        assert any(
            context.characters(token - 1, token - 1)[1] <= start < context.characters(token, token)[1]
            or context.characters(token - 1, token - 1)[1] > start >= context.characters(token - 1, token - 1)[0]
            for start in starts
        )


@pytest.mark.parametrize(
    "text", ["\n" * 10**6, " " * 10**6, "\n" + " " * 10**6 + "x", "|" * 10**6, "|" + "a" * 10**6, "\t" * 10**6]
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    """A quadratic search would take hours."""
    assert len(block_starts(text)) <= len(text)
