"""Passages: nothing is lost, borders lie where a reader would put them, and hostile texts stay cheap."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.documents.document import Document
from qa_onnx.errors import InputError
from qa_onnx.retrieval import PassageIndex, passages
from qa_onnx.retrieval.passages import MOST_CHARACTERS, MOST_WORDS, count_words, cut_passages

_PARTS = st.sampled_from(
    [
        "word ",
        "Long. ",
        "Ends!\n",
        "\n\n",
        "\f",
        " \n \n",
        "line\n",
        "汉字。",
        "ก็",
        "'quoted.' ",
        "\u0301",
        " " * 50,
    ]
)
_TEXTS = st.one_of(
    st.text(), st.lists(st.tuples(_PARTS, st.integers(1, 300))).map(lambda parts: "".join(p * n for p, n in parts))
)


def parts_of(text: str) -> list[str]:
    return [text[start:end] for start, end in cut_passages(text)]


@given(_TEXTS)
def test_passages_are_the_text_and_of_bounded_size(text: str) -> None:
    parts = parts_of(text)
    assert "".join(parts) == text
    assert all(0 < len(part) <= MOST_CHARACTERS for part in parts)
    assert all(count_words(part) <= MOST_WORDS for part in parts)


@given(st.lists(st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), min_size=1, max_size=40)))
def test_a_word_is_in_one_passage(words: list[str]) -> None:
    text = " ".join(words * 20)
    assert [word for part in parts_of(text) for word in part.split()] == text.split()


def sentence(words: int) -> str:
    return " ".join(["word"] * words) + "."


def test_paragraphs_are_joined_until_they_have_a_hundred_words() -> None:
    text = "\n\n".join([sentence(60)] * 6)
    assert [count_words(part) for part in parts_of(text)] == [120, 120, 120]


def test_a_paragraph_of_a_hundred_words_stays_alone() -> None:
    assert [count_words(part) for part in parts_of("\n\n".join([sentence(110), sentence(30), sentence(190)]))] == [
        110,
        30,
        190,
    ]


def test_a_long_paragraph_is_cut_at_sentences_into_equal_parts() -> None:
    parts = parts_of(" ".join([sentence(25)] * 20))
    assert [count_words(part) for part in parts] == [175, 175, 150]
    assert all(part.rstrip().endswith(".") for part in parts)


def test_without_sentences_lines_are_borders() -> None:
    lines = "\n".join(" ".join(["cell"] * 9) for _ in range(60))
    assert all(count_words(part) % 9 == 0 for part in parts_of(lines))


@pytest.mark.parametrize("border", ["\n\n", "\n \t\n", "\f", "\r\n\r\n", "\n\n\n\n"])
def test_pages_and_blank_lines_are_borders(border: str) -> None:
    first, second = parts_of(sentence(150) + border + sentence(150))
    assert first == sentence(150) + border
    assert second == sentence(150)


def test_scripts_without_blanks_are_cut_at_their_sentences() -> None:
    text = "東京は日本の首都です。" * 60
    parts = parts_of(text)
    assert len(parts) > 1
    assert all(part.endswith("。") for part in parts)


def test_a_letter_keeps_its_marks() -> None:
    assert not any(re.match("\u0e31", part) for part in parts_of("กั" * 900))


def test_an_empty_text_has_no_passages() -> None:
    assert cut_passages("") == []


@pytest.mark.parametrize("part", ["\n ", " ", "a", "\n", ". ", "。", "\f", '."', "\n\t\n"])
def test_a_hundred_thousand_of_anything_end(part: str) -> None:
    """A rule whose time grows with the square of the text would need hours."""
    text = part * 100_000
    assert sum(end - start for start, end in cut_passages(text)) == len(text)


def test_a_text_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "LONGEST_TEXT", 10)
    with pytest.raises(InputError, match=r"long\.txt has 11 characters; the limit is 10: split it"):
        PassageIndex.of([Document("long.txt", "a" * 11)])
