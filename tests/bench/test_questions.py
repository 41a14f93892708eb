"""The project's own questions: what they promise, and that the default bundle answers most of them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import Example, Reader
from qa_onnx.bench.questions import PATH, load_questions
from qa_onnx.evaluation.metrics import exact_match, f1, normalize_answer

if TYPE_CHECKING:
    from qa_onnx.data.squad import Gold

pytestmark = pytest.mark.cpu

LIGHTHOUSE = Path(__file__).parents[2] / "examples" / "lighthouse.txt"
SHORT = 250  # words: what is asked in tests


def articles() -> list[dict[str, Any]]:
    content = json.loads(PATH.read_text(encoding="utf-8"))
    assert content["version"] == "v2.0"
    found: list[dict[str, Any]] = content["data"]
    return found


def golds(*, answerable: bool) -> list[Gold]:
    return [gold for gold in load_questions().golds if bool(gold.answers) == answerable]


def words(text: str) -> int:
    return len(text.split())


def test_there_are_enough_texts_of_all_lengths() -> None:
    contexts = {gold.context for gold in load_questions().golds}
    lengths = sorted(map(words, contexts))
    assert len(contexts) >= 30
    assert 50 <= lengths[0] < 70
    assert 2_900 < lengths[-1] <= 3_000
    for low, high, least in ((50, 125, 8), (125, 250, 8), (250, 500, 7), (500, 1_000, 5), (1_000, 2_000, 3)):
        assert sum(low <= length < high for length in lengths) >= least, (low, high)


def test_each_article_is_one_text_with_a_title_and_a_domain_of_its_own() -> None:
    found = articles()
    assert all(len(article["paragraphs"]) == 1 for article in found)
    for key in ("title", "domain"):
        values = {article[key] for article in found}
        assert len(values) == len(found)
        assert all(value.strip() for value in values)
    assert len({article["paragraphs"][0]["context"] for article in found}) == len(found)


def test_there_are_enough_questions_of_both_kinds() -> None:
    data = load_questions()
    assert data.name == "questions of qa-onnx"
    assert len(data.golds) >= 120
    assert 0.10 <= len(golds(answerable=False)) / len(data.golds) <= 0.20
    for article in articles():
        assert len(article["paragraphs"][0]["qas"]) >= 4, article["title"]


def test_no_question_is_asked_twice() -> None:
    asked = [(normalize_answer(gold.question), gold.context) for gold in load_questions().golds]
    assert len(set(asked)) == len(asked)
    assert all(gold.question.endswith("?") for gold in load_questions().golds)


def test_ids_are_the_text_and_a_number() -> None:
    for article in articles():
        ids = [record["id"] for record in article["paragraphs"][0]["qas"]]
        name = ids[0].rpartition("-")[0]
        assert ids == [f"{name}-{number:02d}" for number in range(1, len(ids) + 1)]


def test_every_answer_is_where_it_is_said_to_be() -> None:
    for gold in golds(answerable=True):
        assert 1 <= len(gold.answers) <= 3, gold.id
        assert len({normalize_answer(text) for text in gold.answers} - {""}) >= 1, gold.id
        assert len(set(gold.answers)) == len(gold.answers), gold.id
        for text, start in zip(gold.answers, gold.answer_starts, strict=True):
            end = start + len(text)
            assert gold.context[start:end] == text, gold.id
            assert text == text.strip(), gold.id
            # Whole words: no gold is a part of one, as 199 is of 1994.
            assert not (gold.context[start - 1 : start] + text[0]).isalnum() or start == 0, gold.id
            assert not (text[-1] + gold.context[end : end + 1]).isalnum() or end == len(gold.context), gold.id


def test_answers_lie_all_over_the_long_texts() -> None:
    places: dict[str, list[float]] = {}
    for gold in golds(answerable=True):
        if words(gold.context) >= 500:
            places.setdefault(gold.context, []).append(gold.answer_starts[0] / len(gold.context))
    for found in places.values():
        thirds = [sum(third / 3 <= place < (third + 1) / 3 for place in found) for third in range(3)]
        assert min(thirds) >= 2, thirds


def test_what_has_no_answer_has_none() -> None:
    impossible = [
        record for article in articles() for record in article["paragraphs"][0]["qas"] if record["is_impossible"]
    ]
    assert len(impossible) == len(golds(answerable=False)) >= 20
    assert all(record["answers"] == [] for record in impossible)
    assert all(exact_match("", gold.answers) == 1 for gold in golds(answerable=False))


def test_the_lighthouse_is_that_of_the_examples() -> None:
    contexts = {gold.context for gold in load_questions().golds if gold.id.startswith("lighthouse-")}
    assert contexts == {LIGHTHOUSE.read_text(encoding="utf-8")}


def test_texts_are_clean() -> None:
    raw = PATH.read_bytes()
    assert raw.decode("utf-8") == unicodedata.normalize("NFC", raw.decode("utf-8"))
    assert b"\r" not in raw
    for gold in load_questions().golds:
        for text in (gold.question, gold.context):
            odd = {character for character in text if unicodedata.category(character)[0] == "C"} - {"\n"}
            assert not odd, gold.id
            assert "  " not in text, gold.id
        assert "\n" not in gold.question


def test_characters_are_not_bytes_in_some_answers() -> None:
    def shifted(gold: Gold, size: int) -> bool:
        encoding = {1: "utf-8", 2: "utf-16-le"}[size]
        return len(gold.context[: gold.answer_starts[0]].encode(encoding)) // size != gold.answer_starts[0]

    assert sum(shifted(gold, 1) for gold in golds(answerable=True)) >= 20
    assert sum(shifted(gold, 2) for gold in golds(answerable=True)) >= 3
    assert any(not text.isascii() for gold in golds(answerable=True) for text in gold.answers)


@pytest.mark.slow
def test_the_default_bundle_answers_most_of_the_short_ones() -> None:
    asked = [gold for gold in golds(answerable=True) if words(gold.context) <= SHORT]
    assert len(asked) >= 70
    predictions = Reader.load(threads=2).predict([Example(gold.question, gold.context) for gold in asked])
    scores = [
        f1(prediction.choose(None).text, gold.answers) for prediction, gold in zip(predictions, asked, strict=True)
    ]
    assert sum(scores) / len(scores) >= 0.85  # 0.906 with AVX2


def test_long_texts_may_be_left_out() -> None:
    short = load_questions(most_words=SHORT)
    assert {gold.id for gold in short.golds} == {
        gold.id for gold in load_questions().golds if words(gold.context) <= SHORT
    }
    assert short.name == f"questions of qa-onnx, texts of up to {SHORT} words"
