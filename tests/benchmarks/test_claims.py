"""Questions that become claims, and the claims that are made of them."""

from __future__ import annotations

import pytest
from claims import TRUTHS, kind_of, make_claims, statement

from qa_onnx.data.gold import Gold


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("Who designed the tower?", "Ada Holm", "Ada Holm designed the tower."),
        ("When was the tower built in Ormen?", "1912", "The tower was built in Ormen in 1912."),
        ("When was the tower built?", "in the spring of 1912", "The tower was built in the spring of 1912."),
        ("When did the museum open?", "1994", "The museum opened in 1994."),
        ("In what year did Ida leave the tower?", "1989", "Ida left the tower in 1989."),
        ("What is the height of the tower?", "40 metres", "The height of the tower is 40 metres."),
        ("What is the tower known for?", "its lamp", "The tower is known for its lamp."),
        ("How many rooms does the house have?", "six", "The house has six rooms."),
        ("How many people live in Ormen?", "40", "40 people live in Ormen."),
        ("Where did the ship sail?", "north", None),
        ("Why was the tower built?", "for the ships", None),
    ],
)
def test_a_question_with_its_answer_becomes_a_statement(question: str, answer: str, expected: str | None) -> None:
    assert statement(question, answer) == expected


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("3 March 1887", "date"), ("twelve rooms", "number"), ("Ada Holm", "name"), ("the old lamp", "phrase")],
)
def test_kinds_of_answers(answer: str, kind: str) -> None:
    assert kind_of(answer) == kind


def test_claims_of_a_question_differ_in_what_is_wrong_with_them() -> None:
    def gold(question: str, answer: str, context: str, article: str) -> Gold:
        return Gold(question, question, context, (answer,), (-1,), article)

    golds = [
        gold("Who designed the tower?", "Ada Holm", "one", "Ormen"),
        gold("Who opened the hall?", "Bo Brandt", "one", "Ormen"),
        gold("Why was it built?", "for the ships", "one", "Ormen"),
        gold("When was the pier built?", "1870", "two", "Halvick"),
    ]
    made = make_claims(golds, 10)
    assert (made.questions, made.usable, made.used) == (4, 3, 3)
    of_tower = {claim.truth: claim for claim in made.claims if claim.answers == ("Ada Holm",)}
    assert list(of_tower) == [TRUTHS[0], TRUTHS[1], TRUTHS[2], TRUTHS[4]]
    assert of_tower["true"].text == of_tower["another article"].text == "Ada Holm designed the tower."
    assert of_tower["other of the article"].text == "Bo Brandt designed the tower."
    assert [claim.article for claim in of_tower.values()] == ["Ormen", "Ormen", "Ormen", "Halvick"]
    [negated] = [claim.text for claim in made.claims if claim.truth == "negated"]
    assert negated == "The pier was not built in 1870."
