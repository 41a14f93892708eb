"""All answers of documents: places, what is left out, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx.documents.document import Document
from qa_onnx.errors import InputError
from qa_onnx.retrieval import DocumentAnswers, PassageIndex, ask_all
from qa_onnx.testing import fake_reader
from tests.retrieval.texts import make_documents

if TYPE_CHECKING:
    from qa_onnx import Reader


def with_signers(*names: str) -> list[Document]:
    """Documents of many passages, the first ones with a signature at the end."""
    documents = make_documents(12)
    signed = [
        Document(f"{number}.txt", f"{one.text}\n\nSigned by {name}.")
        for number, (one, name) in enumerate(zip(documents, names, strict=False))
    ]
    return [*signed, *documents[len(names) :]]


def texts_of(result: DocumentAnswers) -> list[tuple[str, str]]:
    return sorted((answer.document, answer.text) for answer in result.answers)


def test_every_document_gives_its_answer() -> None:
    documents = with_signers("Mara", "Jonas", "Mara")
    result = ask_all(fake_reader("Mara", "Jonas"), "Who signed?", documents, read=None)
    assert texts_of(result) == [("0.txt", "Mara"), ("1.txt", "Jonas"), ("2.txt", "Mara")]
    by_name = {document.name: document.text for document in documents}
    for answer in result.answers:
        assert by_name[answer.document][answer.start : answer.end] == answer.text
        assert answer.passage.text == by_name[answer.document][answer.passage.start : answer.passage.end]
        assert answer.probability > 0.99
    assert (result.read, result.stopped) == (result.passages, "all read")
    assert result.passages == len(PassageIndex.of(documents))


def test_an_index_read_as_a_whole_gives_the_same_answers() -> None:
    documents = with_signers("Mara", "Jonas", "Mara")
    reader = fake_reader("Mara", "Jonas")
    given = ask_all(reader, "Who signed?", documents, read=None)
    indexed = ask_all(reader, "Who signed?", PassageIndex.of(documents), read=None)
    assert replace(indexed, seconds=0) == replace(given, seconds=0)


def test_only_the_best_passages_are_read() -> None:
    documents = with_signers("Mara", "Jonas", "Mara")
    reader = fake_reader("Mara", "Jonas")
    result = ask_all(reader, "Who signed?", documents, read=2)
    assert (result.read, result.stopped) == (2, "read")
    assert len(result.answers) == 2
    assert all(answer.passage.score > 0 for answer in result.answers)


def test_where_nothing_answers_there_is_no_answer() -> None:
    result = ask_all(fake_reader("Nobody"), "Who signed?", make_documents(3), read=None)
    assert result.answers == ()
    assert result.best is None
    assert result.null_probability > 0.99


def test_without_documents_there_is_no_answer() -> None:
    result = ask_all(fake_reader("Nobody"), "Who signed?", [], read=None)
    assert (result.answers, result.read, result.stopped) == ((), 0, "all read")


TWO = Document("flat", "The rent is 900 euros.\n\n" + "A word. " * 120 + "\n\nThe rent was 800 euros last year.")


@pytest.mark.parametrize("least", [0.1, 0.5, 0.9, 0.999])
def test_an_answer_is_as_probable_in_its_passage_as_the_options_say(tiny_reader: Reader, least: float) -> None:
    options = replace(tiny_reader.options, null_threshold=None, min_probability=least)
    found = ask_all(tiny_reader, "How high is the rent?", [TWO], read=None, options=options)
    every = ask_all(
        tiny_reader, "How high is the rent?", [TWO], read=None, options=replace(options, min_probability=1e-3)
    )
    assert found.answers == tuple(answer for answer in every.answers if answer.probability >= least)
    assert len(every.answers) > 2


def test_by_default_improbable_answers_are_left_out(tiny_reader: Reader) -> None:
    options = replace(tiny_reader.options, null_threshold=None)
    by_default = ask_all(tiny_reader, "How high is the rent?", [TWO], read=None, options=options)
    chosen = ask_all(
        tiny_reader, "How high is the rent?", [TWO], read=None, options=replace(options, min_probability=0.1)
    )
    assert replace(by_default, seconds=0) == replace(chosen, seconds=0)


def test_n_best_and_overlapping_change_nothing(tiny_reader: Reader) -> None:
    options = replace(tiny_reader.options, null_threshold=None, min_probability=0.01)
    other = replace(options, n_best=1, overlapping=True)
    first, second = (
        ask_all(tiny_reader, "How high is the rent?", [TWO], read=None, options=one) for one in (options, other)
    )
    assert first.answers == second.answers


def test_each_answer_passes_the_null_threshold(tiny_reader: Reader) -> None:
    options = replace(tiny_reader.options, null_threshold=None, min_probability=0.001)
    every = ask_all(tiny_reader, "How high is the rent?", [TWO], read=None, options=options)
    middle = sorted(answer.score for answer in every.answers)[len(every.answers) // 2]
    some = ask_all(
        tiny_reader, "How high is the rent?", [TWO], read=None, options=replace(options, null_threshold=-middle)
    )
    assert some.answers == tuple(answer for answer in every.answers if answer.score >= middle)
    assert 0 < len(some.answers) < len(every.answers)


def test_seconds_must_be_a_number_above_zero() -> None:
    with pytest.raises(InputError, match="seconds is 0; it must be a number above 0, or None"):
        ask_all(fake_reader(), "Who?", [TWO], read=None, seconds=0)


def test_what_the_model_says_of_the_question_is_a_warning() -> None:
    result = ask_all(fake_reader("Mara"), "", with_signers("Mara"), read=None)
    assert result.warnings == ("the question is empty",)


@pytest.mark.parametrize(
    ("question", "documents", "read", "message"),
    [
        (7, [TWO], None, "the question is 7; it must be a str"),
        ("Who?", 7, None, "documents is 7; it must be a PassageIndex or some Documents"),
        ("Who?", ["a text"], None, "a document is 'a text'; it must be a Document"),
        ("Who?", [TWO], 0, "read is 0; it must be an integer from 1"),
        ("Who?", [TWO], True, "read is True; it must be an integer from 1"),
    ],
)
def test_what_is_wrong_is_said(question: Any, documents: Any, read: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask_all(fake_reader(), question, documents, read=read)
