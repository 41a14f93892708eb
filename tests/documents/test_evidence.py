"""Evidence: sentence, paragraph, line, page and occurrence of an answer, beside a look at the whole text."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx.documents.evidence import (
    LONGEST_COUNTED,
    LONGEST_PARAGRAPH,
    LONGEST_SENTENCE,
    MOST_OCCURRENCES,
    Evidence,
    evidence,
)
from qa_onnx.documents.sentences import sentences
from qa_onnx.errors import InputError
from tests.documents.test_sentences import TEXTS

LEASE = (
    "LEASE\n\n"
    "1. Term\r\nThe lease runs for 12 months. Either side may end it with 30 days of notice.\r\n\r\n"
    "2. Rent\rThe rent is due within 30 days. It is 500 euros.\f"
    "3. Deposit\nThe deposit is paid back within 30 days; 130 days do not count, nor do 30 daysy ones.\n"
)


def of(text: str, answer: str, nth: int = 1) -> Evidence:
    start = -1
    for _ in range(nth):
        start = text.index(answer, start + 1)
    return evidence(text, start, start + len(answer))


def test_a_place_in_a_lease() -> None:
    place = of(LEASE, "30 days", 2)
    assert place.sentence.text == "The rent is due within 30 days."
    assert place.paragraph.text == "2. Rent\rThe rent is due within 30 days. It is 500 euros."
    assert (place.line, place.page, place.occurrence, place.occurrences) == (7, 1, 2, 3)
    last = of(LEASE, "30 days", 3)
    assert (last.line, last.page, last.occurrence) == (8, 2, 3)
    assert last.sentence.text.startswith("The deposit")
    assert last.sentence.text.endswith("30 daysy ones.")


def test_a_part_of_a_word_counts_where_it_is_the_answer() -> None:
    place = of(LEASE, "30 days", 4)  # of "130 days"
    assert (place.occurrence, place.occurrences) == (4, 4)


def test_words_of_scripts_without_blanks_are_counted_and_those_of_others_are_whole() -> None:
    assert of("租金是五百元，押金是五百元。", "五百元").occurrences == 2
    assert of("भारत में भारती है। भारत।", "भारत").occurrences == 2
    assert of("cafe cafe\u0301 cafe", "cafe").occurrences == 2


def test_an_answer_over_a_border_gets_both_sentences() -> None:
    assert of("One is here. Two is there. Three.", "here. Two").sentence.text == "One is here. Two is there."
    assert of("One.\n\nTwo is. Three.", "One.\n\nTwo").sentence.text == "One.\n\nTwo is."
    assert of("It is 30 days. Then", "30 days.").sentence.text == "It is 30 days."


def test_results_are_ready_for_json() -> None:
    assert json.loads(json.dumps(of(LEASE, "12 months").to_dict()))["sentence"]["start"] == LEASE.index(
        "The lease"
    )


@pytest.mark.parametrize(("start", "end"), [(0, 0), (-1, 2), (2, 1), (0, 4), (0, True), (0.0, 1), ("0", 1)])
def test_a_range_outside_of_the_text_is_refused(start: int, end: int) -> None:
    with pytest.raises(InputError, match="an answer from"):
        evidence("abc", start, end)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="bytes"):
        evidence(b"abc", 0, 1)  # type: ignore[arg-type]


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(TEXTS, st.data())
def test_the_neighbourhood_says_what_the_whole_text_says(text: str, data: st.DataObject) -> None:
    if not text:
        return
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    place = evidence(text, start, end)
    for excerpt in (place.sentence, place.paragraph):
        assert excerpt.start <= start < end <= excerpt.end
        assert excerpt.text == text[excerpt.start : excerpt.end]
    assert place.paragraph.start <= place.sentence.start
    assert place.sentence.end <= place.paragraph.end
    touched = [part for part in sentences(text) if part[0] < end and start < part[1]]
    if not touched:
        assert text[start:end].isspace()
        return
    assert place.sentence.start == min([start, *(first for first, _ in touched)])
    assert place.sentence.end == max([end, *(last for _, last in touched)])
    # A line ends before `start` where the "\n" of its "\r\n" does too.
    assert place.line == 1 + sum(match.end() <= start for match in re.finditer(r"\r\n|\r|\n", text))
    assert place.page == len(text[:start].split("\f"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["ab", "b", "a b", " ", ",", "a"]), min_size=1, max_size=30), st.data())
def test_occurrences_are_those_of_a_pattern(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    words = list(re.finditer(r"\b\w+( \w+)?\b", text))
    if not words:
        return
    word = data.draw(st.sampled_from(words))
    places = [match.start() for match in re.finditer(rf"(?=\b{word.group()}\b)", text)]
    place = evidence(text, *word.span())
    assert (place.occurrence, place.occurrences) == (places.index(word.start()) + 1, len(places))


@pytest.mark.parametrize("unit", ["word ", "x", ".", "Dr. ", "\u0301", "\r", '"', "。」", "a\u0301", "a.\n"])
def test_hostile_texts_get_bounded_excerpts(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    place = evidence(text, 200_000, 200_009)
    assert len(place.sentence.text) <= LONGEST_SENTENCE
    assert len(place.paragraph.text) <= LONGEST_PARAGRAPH
    assert place.sentence.start <= 200_000
    assert place.sentence.end >= 200_009


def test_long_sentences_are_cut_at_blanks_around_the_answer() -> None:
    text = "word " * 1_000 + "answer " + "word " * 1_000
    sentence = of(text, "answer").sentence
    assert LONGEST_SENTENCE - 20 < len(sentence.text) <= LONGEST_SENTENCE
    assert set(sentence.text.split()) == {"word", "answer"}
    assert abs((5_000 - sentence.start) - (sentence.end - 5_006)) < 20
    early = of("answer " + text, "answer").sentence
    assert early.start == 0
    assert LONGEST_SENTENCE - 20 < early.end <= LONGEST_SENTENCE


def test_an_answer_longer_than_a_sentence_is_never_cut() -> None:
    text = "word " * 10_000
    sentence = evidence(text, 5_000, 45_000).sentence
    assert (sentence.start, sentence.end) == (5_000, 45_000)


def test_what_stands_in_very_many_places_is_not_counted() -> None:
    assert of("a " * MOST_OCCURRENCES, "a").occurrences == MOST_OCCURRENCES
    assert of("a " * (MOST_OCCURRENCES + 1), "a").occurrences is None
    assert of("b " * LONGEST_COUNTED, "b " * LONGEST_COUNTED).occurrence is None
    assert evidence(" \n ", 0, 3).occurrences is None
