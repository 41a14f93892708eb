"""Terms: what is the same for a search, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qa_onnx.retrieval.terms import LONGEST_TERM, terms_of


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Who built the Tower, in 1,492?", ["who", "built", "the", "tower", "in", "1", "492"]),
        ("Crème BRÛLÉE", ["creme", "brulee"]),
        ("e\u0301 é", ["e", "e"]),
        ("Straße ΟΔΟΣ οδός", ["strasse", "οδοσ", "οδοσ"]),
        ("Ёлка й", ["елка", "и"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("木", ["木"]),
        ("iPhone手机", ["iphone", "手机"]),
        ("한국어", ["한국", "국어"]),
        ("हिन्दी", ["हिन्दी"]),
        ("ﬁne Ⅳ", ["fine", "iv"]),
        ("it’s — “x”", ["it", "s", "x"]),
        (" \n…", []),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms


@example("\u0370", "\U0001d400")  # a capital of mathematics
@given(st.text(), st.text())
def test_a_text_has_the_terms_of_its_lines(first: str, second: str) -> None:
    """So the short way for ASCII, and that for Latin, give what the general one does."""
    assert terms_of(f"{first}\n{second}") == terms_of(first) + terms_of(second)


@given(st.text(st.characters(max_codepoint=0x24F)))
def test_latin_text_has_the_same_terms_beside_other_scripts(text: str) -> None:
    assert terms_of(f"{text}\nж") == [*terms_of(text), "ж"]


@given(st.text())
def test_case_does_not_matter(text: str) -> None:
    assert terms_of(text.casefold()) == terms_of(text)


def test_a_long_word_becomes_several_terms() -> None:
    for letter in "aж":
        terms = terms_of(letter * (2 * LONGEST_TERM + 1))
        assert [len(term) for term in terms] == [LONGEST_TERM, LONGEST_TERM, 1]
