"""Answers of many documents: places, one scale, when reading stops, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from qa_onnx import Answer, Prediction, Reader
from qa_onnx.documents.document import Document
from qa_onnx.errors import InputError
from qa_onnx.retrieval import DocumentAnswers, PassageIndex, ask_documents
from qa_onnx.retrieval.ask import BM25_WEIGHT
from qa_onnx.testing import fake_reader
from tests.retrieval.texts import make_documents


def with_needle(answer: str = "blue", count: int = 12) -> list[Document]:
    """Documents of which the last but one says of the boat's colour, at its end."""
    documents = make_documents(count)
    text = f"{documents[-2].text}\n\nThe colour of the boat is {answer}."
    return [*documents[:-2], Document("boat.txt", text), documents[-1]]


def test_the_answer_stands_in_its_document() -> None:
    documents = with_needle()
    result = ask_documents(fake_reader("blue"), "What colour is the boat?", documents)
    best = result.best
    assert best is not None
    assert (best.document, best.text) == ("boat.txt", "blue")
    assert documents[-2].text[best.start : best.end] == "blue"
    assert best.passage.text == documents[-2].text[best.passage.start : best.passage.end]
    assert best.probability > 0.99
    assert result.passages == len(PassageIndex.of(documents))


def test_an_index_and_documents_answer_alike() -> None:
    documents = with_needle()
    reader, question = fake_reader("blue"), "What colour is the boat?"
    made, given = (ask_documents(reader, question, one) for one in (PassageIndex.of(documents), documents))
    assert replace(made, seconds=0) == replace(given, seconds=0)


class ScriptedReader:
    """A reader that predicts for a context what a test chooses: logits above "no answer", -5 where nothing."""

    def __init__(self, margins: dict[str, float], null_threshold: float | None = None) -> None:
        self._real = fake_reader()
        self.margins, self.null_threshold, self.read = margins, null_threshold, list[str]()
        self.steps, self.resolve = self._real.steps, self._real.resolve

    def predict(self, examples: list[tuple[str, str]], *, options: Any) -> list[Prediction]:
        self.read += [context for _, context in examples]
        return [self._prediction(context) for _, context in examples]

    def _prediction(self, context: str) -> Prediction:
        margin, null = self.margins.get(context, -5.0), float(len(context) % 7)
        share = 1 / (1 + math.exp(margin))
        word = context.partition(".")[0]
        return Prediction((Answer(word, 0, len(word), null + margin, 1 - share),), null, share)


def scripted(
    margins: dict[str, float], texts: list[str], **arguments: Any
) -> tuple[ScriptedReader, DocumentAnswers]:
    reader: Any = ScriptedReader(margins, arguments.pop("null_threshold", None))
    documents = [Document(f"{number}", text) for number, text in enumerate(texts)]
    return reader, ask_documents(reader, "tower", documents, **arguments)


SAME = [f"{name}. tower tower" for name in ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l")]


def test_answers_are_ranked_by_what_is_above_their_own_null_scores() -> None:
    _, result = scripted(
        {SAME[2]: 3.0, SAME[7]: 4.0, SAME[0]: 1.0},
        [text + "!" * n for n, text in enumerate(SAME)],
        options=replace(fake_reader().options, n_best=20),
    )
    assert len(result.answers) == len(SAME)
    _, result = scripted({SAME[2]: 3.0, SAME[7]: 4.0, SAME[0]: 1.0}, SAME)
    assert [answer.text for answer in result.answers][:3] == ["h", "c", "a"]
    assert [answer.score for answer in result.answers][:3] == pytest.approx([4.0, 3.0, 1.0])


def test_what_bm25_says_counts_with_its_weight() -> None:
    texts = ["a. tower tower tower", "b. tower sea sea sea sea sea sea sea", "c. sea sea sea"]
    index = PassageIndex.of(Document(text[0], text) for text in texts)
    first, second, third = (index.scores("tower")[number] for number in range(3))
    _, result = scripted(dict(zip(texts, [1.0, 2.0, 3.0], strict=True)), texts)
    expected = {"a": 1.0, "b": 2.0 - BM25_WEIGHT * (first - second), "c": 3.0 - BM25_WEIGHT * (first - third)}
    assert {answer.text: answer.score for answer in result.answers} == pytest.approx(expected)


def test_probabilities_are_one_softmax_over_all_passages() -> None:
    _, result = scripted({SAME[0]: 2.0, SAME[1]: 1.0}, SAME[:5])
    weights = [math.exp(answer.score) for answer in result.answers]
    assert [answer.probability for answer in result.answers] == pytest.approx(
        [weight / (1 + sum(weights)) for weight in weights]
    )
    assert sum(answer.probability for answer in result.answers) + result.null_probability == pytest.approx(1)


def test_a_model_that_is_very_sure_overflows_nothing() -> None:
    _, result = scripted({SAME[0]: 700.0, SAME[1]: -700.0}, SAME[:3])
    assert result.answers[0].probability == pytest.approx(1)
    assert 0 <= result.null_probability < 1e-280


def test_equal_passages_are_read_once() -> None:
    reader, result = scripted({SAME[0]: 3.0}, [SAME[0], SAME[1], SAME[0], SAME[0]])
    assert sorted(reader.read) == SAME[:2]
    assert [(answer.document, answer.text) for answer in result.answers] == [("0", "a"), ("1", "b")]
    assert (result.read, result.passages, result.stopped) == (2, 4, "all read")


def test_many_equal_passages_hide_no_others() -> None:
    reader, result = scripted({}, [*[SAME[0]] * 50, *SAME[1:], *[SAME[0]] * 50], read=5)
    assert reader.read == SAME[:5]
    assert (result.read, result.stopped) == (5, "read")


def test_passages_that_are_equal_to_those_that_were_read_count_as_unread_at_the_budget() -> None:
    for read, stopped in ((1, "read"), (2, "all read")):
        reader, result = scripted({}, [SAME[0]] * 9, read=read)
        assert (reader.read, result.read, result.stopped, result.passages) == (SAME[:1], 1, stopped, 9)


def test_no_place_comes_twice() -> None:
    result = ask_documents(fake_reader("blue"), "What colour is the boat?", with_needle(), read=100)
    places = [(answer.document, answer.start, answer.end) for answer in result.answers]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("read", "stopped"), [(1, "read"), (5, "read"), (11, "read"), (12, "all read"), (99, "all read")]
)
def test_reading_stops_at_the_budget(read: int, stopped: str) -> None:
    reader, result = scripted({}, SAME, read=read)
    assert reader.read == SAME[:read]
    assert (result.read, result.stopped) == (min(read, 12), stopped)


def test_reading_stops_when_it_is_sure() -> None:
    _, result = scripted({SAME[5]: 20.0}, SAME)
    assert (result.stopped, result.read) == ("sure", 8)
    reader, result = scripted({SAME[5]: 20.0}, SAME, stop_early=False)
    assert (result.stopped, result.read) == ("all read", 12)
    assert reader.read == SAME


def test_reading_stops_before_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 2))
    monkeypatch.setattr("qa_onnx.retrieval.ask.time.perf_counter", lambda: float(next(now)))
    reader, result = scripted({}, SAME, seconds=5.0)  # each look at the clock takes 2 seconds, as does a batch
    assert (result.stopped, len(reader.read)) == ("seconds", 8)


def test_the_first_passages_are_read_in_no_time() -> None:
    _, result = scripted({}, SAME, seconds=1e-9)
    assert (result.stopped, result.read) == ("seconds", 4)


def test_progress_is_reported_after_each_step() -> None:
    seen: list[tuple[int, int]] = []
    scripted({}, SAME, on_read=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 12), (8, 12), (12, 12)]
    seen.clear()
    scripted({}, SAME, read=6, on_read=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 6), (6, 6)]


def test_the_null_threshold_decides_whether_there_is_an_answer() -> None:
    for threshold, found in [(None, True), (6.0, True), (4.0, False)]:
        _, result = scripted({}, SAME, null_threshold=threshold)
        assert (result.best is not None) is found
    _, result = scripted({}, SAME, options=replace(fake_reader().options, null_threshold=9.0), null_threshold=1.0)
    assert result.best is not None


def test_without_documents_there_is_no_answer() -> None:
    for documents in ([], [Document("blank", "")]):
        result = ask_documents(fake_reader("blue"), "What colour?", documents)
        assert (result.best, result.answers, result.read, result.stopped) == (None, (), 0, "all read")
        assert result.null_probability == 1


def test_a_warning_of_the_question_comes_once() -> None:
    options = replace(fake_reader().options, max_question_length=5)
    result = ask_documents(fake_reader("blue"), "What colour is the boat?", with_needle(), options=options)
    assert result.warnings == ("the question has 24 tokens; the first 5 were used (max_question_length)",)


def test_results_are_ready_for_json() -> None:
    import json

    result = ask_documents(fake_reader("blue"), "What colour is the boat?", with_needle())
    assert json.loads(json.dumps(result.to_dict()))["answers"][0]["passage"]["document"] == "boat.txt"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"read": 0}, "read is 0; it must be an integer from 1"),
        ({"read": True}, "read is True"),
        ({"read": 2.5}, "read is 2.5"),
        ({"seconds": 0}, "seconds is 0; it must be a number above 0, or None"),
        ({"seconds": math.nan}, "seconds is nan"),
        ({"seconds": "1"}, "seconds is '1'"),
        ({"question": None}, "the question is None"),
        ({"documents": ["text"]}, "a document is 'text'"),
        ({"documents": 3}, "the documents is 3"),
        ({"options": 3}, "options is 3"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    call = {"reader": fake_reader(), "question": "Who?", "documents": [Document("a", "x")], **arguments}
    with pytest.raises(InputError, match=message):
        ask_documents(**call)


@pytest.mark.slow
def test_the_default_model_finds_the_right_passage() -> None:
    from pathlib import Path

    article = (Path(__file__).parents[2] / "examples" / "lighthouse.txt").read_text(encoding="utf-8")
    documents = [*make_documents(4), Document("lighthouse.txt", article)]
    result = ask_documents(Reader.load(threads=1), "Who designed the tower?", documents)
    assert result.best is not None
    assert (result.best.document, result.best.text) == ("lighthouse.txt", "Agnes Halloran")
    assert article[result.best.start : result.best.end] == "Agnes Halloran"
