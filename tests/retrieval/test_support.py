"""Claims that documents support, differ from, or say nothing of."""

from __future__ import annotations

from typing import Any

import pytest

from qa_onnx import Answer, Prediction, Reader
from qa_onnx.documents.document import Document
from qa_onnx.errors import InputError
from qa_onnx.retrieval import PassageIndex
from qa_onnx.retrieval.support import LONGEST_CLAIM, Support, support
from qa_onnx.testing import fake_reader
from tests.retrieval.texts import make_documents

pytest.importorskip("bm25s", reason="needs qa-onnx[search]")

TEXT = (
    "The harbour has a long history. The stone tower was built in 1912 by the engineer Ada Holm. "
    "It burned down later. The new one was never painted by her son."
)
DOCUMENTS = [*make_documents(3), Document("tower.txt", TEXT)]


def check(claim: str, *answers: str, **arguments: Any) -> Support:
    return support(fake_reader(*answers), claim, DOCUMENTS, **arguments)


def test_a_claim_in_other_words_is_supported_where_it_stands() -> None:
    result = check("Ada Holm built the tower.", "Ada Holm")
    assert result.verdict == "supported"
    assert result.answer is result.agreeing
    assert result.answer is not None
    assert (result.answer.document, result.answer.text) == ("tower.txt", "Ada Holm")
    assert TEXT[result.answer.start : result.answer.end] == "Ada Holm"
    assert result.answer.part.text == "Ada Holm"
    assert result.answer.words == 1.0
    assert result.answer.score == result.answer.probability > 0.99


def test_another_answer_in_the_place_of_a_part_differs() -> None:
    result = check("The stone tower was built in 1921.", "1912")
    assert result.verdict == "differs"
    assert result.answer is result.differing
    assert result.answer is not None
    assert (result.answer.part.text, result.answer.text) == ("1921", "1912")
    assert result.agreeing is None


def test_a_part_that_stands_nowhere_near_is_not_supported_by_the_answer_to_another_one() -> None:
    result = check("Ada Holm built the tower in Ormen.", "Ada Holm")
    assert result.agreeing is None
    assert result.verdict == "differs"  # the place is asked for, too
    assert result.answer is not None
    assert (result.answer.part.text, result.answer.text) == ("Ormen", "Ada Holm")


def test_other_words_that_the_sentence_lacks_make_a_low_score() -> None:
    result = check("Ada Holm invented steam engines, gliders, lamps and pumps.", "Ada Holm")
    assert result.verdict == "not found"
    assert result.answer is None
    assert result.agreeing is not None
    assert result.agreeing.words == 0.0


class AnsweringReader:
    """A reader that answers questions with a text, where the context has it, and a probability."""

    def __init__(self, answers: dict[str, tuple[str, float]]) -> None:
        self._answers, self.resolve = answers, fake_reader().resolve

    def predict(self, examples: list[tuple[str, str]], *, options: Any) -> list[Prediction]:
        return [self._prediction(*example) for example in examples]

    def _prediction(self, question: str, context: str) -> Prediction:
        text, share = self._answers[question]
        at = context.find(text)
        answers = () if at < 0 else (Answer(text, at, at + len(text), 0.0, share),)
        return Prediction(answers, 0.0, 1 - share)


OLD_TOWER = Document("old.txt", "The old stone tower was built in 1912 by Ada Holm. Bo Brandt painted it.")
WHO, YEAR = "Who or what built the old stone tower in 1912?", "{} built the old stone tower in what year?"


@pytest.mark.parametrize(
    ("name", "of_year", "probability", "verdict"),
    [
        ("Bo Brandt", "1912", 0.7, "differs"),  # "1912" agrees, with a score of 0.6; "Ada Holm" is more probable
        ("Bo Brandt", "1912", 0.3, "supported"),
        ("Ada Holm", "The old", 0.7, "supported"),  # no answer to its question, but "1912" stands there
        ("Ada Holm", "1912", 0.1, "supported"),
    ],
)
def test_a_better_answer_that_differs_forbids_support(
    name: str, of_year: str, probability: float, verdict: str
) -> None:
    answers = {WHO: ("Ada Holm", probability), YEAR.format(name): (of_year, 0.9)}
    reader: Any = AnsweringReader(answers)
    result = support(reader, f"{name} built the old stone tower in 1912.", [OLD_TOWER])
    assert result.verdict == verdict


@pytest.mark.parametrize(("probability", "verdict"), [(0.56, "supported"), (0.54, "not found")])
def test_support_needs_a_score(probability: float, verdict: str) -> None:
    claim = "The old stone tower was built by Ada Holm."
    answers = {"The old stone tower was built by who or what?": ("Ada Holm", probability)}
    reader: Any = AnsweringReader(answers)
    result = support(reader, claim, [OLD_TOWER])
    assert result.verdict == verdict
    assert result.agreeing is not None
    assert result.agreeing.score == probability


@pytest.mark.parametrize(
    ("claim", "answer", "verdict"),
    [
        ("The stone tower was not built by Ada Holm.", "Ada Holm", "differs"),
        ("The new one was painted by her son.", "son", "differs"),
        ("The new one was never painted by her son.", "son", "supported"),
    ],
)
def test_a_not_on_one_side_only_differs(claim: str, answer: str, verdict: str) -> None:
    result = check(claim, answer)
    assert result.verdict == verdict
    assert result.answer is not None
    assert result.answer.negated is (verdict == "differs")


def test_what_the_documents_do_not_speak_of_is_not_found() -> None:
    result = check("Marie Curie won a prize in 1903.", "prize of Ormen")
    assert (result.verdict, result.agreeing) == ("not found", None)
    assert [part.text for part in result.parts] == ["Marie Curie", "1903"]
    assert result.to_dict() == {
        "verdict": "not found",
        "score": None,
        "answer": None,
        "parts": ["Marie Curie", "1903"],
        "read": 4,
    }


def test_nothing_is_read_for_a_claim_without_parts() -> None:
    result = check("the sea rose", "sea")
    assert (result.verdict, result.parts, result.read) == ("not found", (), 0)
    assert check("Ada Holm built the tower.", "Ada Holm", read=2).read == 2


def test_an_index_serves_many_claims() -> None:
    index, reader = PassageIndex.of(DOCUMENTS), fake_reader("Ada Holm", "1912")
    claim = "Ada Holm built the tower."
    assert support(reader, claim, index) == support(reader, claim, DOCUMENTS)


@pytest.mark.parametrize(
    ("claim", "arguments", "message"),
    [
        (" ", {}, "the claim ' ' has 0 characters; it must have 1 to 1,000"),
        ("a" * (LONGEST_CLAIM + 1), {}, "aaa' has 1,001 characters"),
        (7, {}, "the claim is 7; it must be a str"),
        ("Ada Holm built it.", {"read": 0}, "read is 0; it must be an integer from 1"),
    ],
)
def test_what_cannot_be_checked_is_refused(claim: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(claim, **arguments)


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("claim", "verdict", "text"),
    [
        ("Ada Holm was the engineer of the stone tower.", "supported", "Ada Holm"),
        ("The stone tower was built in 1934.", "differs", "1912"),
        ("Bo Brandt built the stone tower.", "differs", "Ada Holm"),
    ],
)
def test_the_default_model_knows(claim: str, verdict: str, text: str) -> None:
    result = support(Reader.load(), claim, DOCUMENTS)
    assert result.verdict == verdict
    assert result.answer is not None
    assert text in result.answer.text
