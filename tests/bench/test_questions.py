"""The project's own questions: what they promise, and that the default bundle answers most of them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from qa_onnx import Example, Reader
from qa_onnx.bench.questions import PATH, load_questions
from qa_onnx.evaluation.metrics import f1, normalize_answer

pytestmark = pytest.mark.cpu

LIGHTHOUSE = Path(__file__).parents[2] / "examples" / "lighthouse.txt"
SHORT = 250  # words: what is asked in tests
GOLDS = load_questions().golds
ANSWERABLE = [gold for gold in GOLDS if gold.answers]
ARTICLES: list[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))["data"]


def words(text: str) -> int:
    return len(text.split())


def test_there_are_enough_texts_of_all_lengths() -> None:
    lengths = sorted(map(words, {gold.context for gold in GOLDS}))
    assert len(lengths) >= 30
    assert 50 <= lengths[0] < 70
    assert 2_900 < lengths[-1] <= 3_000
    for low, high, least in ((50, 125, 8), (125, 250, 8), (250, 500, 7), (500, 1_000, 5), (1_000, 2_000, 3)):
        assert sum(low <= length < high for length in lengths) >= least, (low, high)


def test_each_article_is_one_text_with_a_title_a_domain_and_ids_of_its_own() -> None:
    paragraphs = [paragraph for article in ARTICLES for paragraph in article["paragraphs"]]
    assert len(paragraphs) == len(ARTICLES)
    for values in (*([article[key] for article in ARTICLES] for key in ("title", "domain")), paragraphs):
        assert len({json.dumps(value) for value in values}) == len(ARTICLES)
    for paragraph in paragraphs:
        ids = [record["id"] for record in paragraph["qas"]]
        assert len(ids) >= 4
        assert ids == [f"{ids[0].rpartition('-')[0]}-{number:02d}" for number in range(1, len(ids) + 1)]


def test_there_are_enough_questions_of_both_kinds_and_none_twice() -> None:
    assert load_questions().name == "questions of qa-onnx"
    assert len(GOLDS) >= 120
    assert 0.10 <= 1 - len(ANSWERABLE) / len(GOLDS) <= 0.20
    assert len({(normalize_answer(gold.question), gold.context) for gold in GOLDS}) == len(GOLDS)
    assert all(gold.question.endswith("?") for gold in GOLDS)


def test_every_answer_is_where_it_is_said_to_be() -> None:
    for gold in ANSWERABLE:
        assert 1 <= len(set(gold.answers)) == len(gold.answers) <= 3, gold.id
        assert any(map(normalize_answer, gold.answers)), gold.id
        for text, start in zip(gold.answers, gold.answer_starts, strict=True):
            end = start + len(text)
            assert gold.context[start:end] == text == text.strip(), gold.id
            # Whole words: no gold is a part of one, as 199 is of 1994.
            assert not (gold.context[start - 1 : start] + text[0]).isalnum() or start == 0, gold.id
            assert not (text[-1] + gold.context[end : end + 1]).isalnum() or end == len(gold.context), gold.id


def test_answers_lie_all_over_the_long_texts() -> None:
    places: dict[str, list[float]] = {}
    for gold in ANSWERABLE:
        if words(gold.context) >= 500:
            places.setdefault(gold.context, []).append(gold.answer_starts[0] / len(gold.context))
    for found in places.values():
        thirds = [sum(third / 3 <= place < (third + 1) / 3 for place in found) for third in range(3)]
        assert min(thirds) >= 2, thirds


def test_the_lighthouse_is_that_of_the_examples() -> None:
    contexts = {gold.context for gold in GOLDS if gold.id.startswith("lighthouse-")}
    assert contexts == {LIGHTHOUSE.read_text(encoding="utf-8")}


def test_texts_are_clean() -> None:
    raw = PATH.read_bytes()
    assert raw.decode("utf-8") == unicodedata.normalize("NFC", raw.decode("utf-8"))
    for gold in GOLDS:
        for text in (gold.question, gold.context):
            odd = {character for character in text if unicodedata.category(character)[0] == "C"} - {"\n"}
            assert not odd, gold.id
            assert "  " not in text, gold.id


def test_characters_are_not_bytes_in_some_answers() -> None:
    before = [gold.context[: gold.answer_starts[0]] for gold in ANSWERABLE]
    assert sum(len(text.encode()) != len(text) for text in before) >= 20
    assert sum(len(text.encode("utf-16-le")) != 2 * len(text) for text in before) >= 3
    assert any(not text.isascii() for gold in ANSWERABLE for text in gold.answers)


@pytest.mark.slow
def test_the_default_bundle_answers_most_of_the_short_ones() -> None:
    asked = [gold for gold in ANSWERABLE if words(gold.context) <= SHORT]
    assert len(asked) >= 70
    predictions = Reader.load(threads=2).predict([Example(gold.question, gold.context) for gold in asked])
    scores = [
        f1(prediction.choose(None).text, gold.answers) for prediction, gold in zip(predictions, asked, strict=True)
    ]
    assert sum(scores) / len(scores) >= 0.85  # 0.906 with AVX2


def test_long_texts_may_be_left_out() -> None:
    short = load_questions(most_words=SHORT)
    assert list(short.golds) == [gold for gold in GOLDS if words(gold.context) <= SHORT]
    assert short.name == f"questions of qa-onnx, texts of up to {SHORT} words"
