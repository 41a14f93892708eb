"""Searches: places, names, order, and what a question may be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from qa_onnx.documents.document import Document
from qa_onnx.errors import InputError
from qa_onnx.retrieval import LazyDocument, PassageIndex
from qa_onnx.retrieval.content import IndexedDocument
from tests.retrieval.texts import make_documents

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_passage_stands_in_its_document() -> None:
    documents = [Document("é.txt", "Ünïcödé 😀 " * 300), Document("blank.txt", ""), *make_documents(3)]
    index = PassageIndex.of(documents)
    texts = {document.name: document.text for document in documents}
    joined = dict.fromkeys(texts, "")
    for number in range(len(index)):
        passage = index.passage(number)
        assert texts[passage.document][passage.start : passage.end] == passage.text
        joined[passage.document] += passage.text
    assert joined == texts
    assert index.documents == tuple(texts)


def test_the_text_of_a_document_is_found_without_a_look_at_all_names() -> None:
    class Counted(tuple[IndexedDocument, ...]):
        looks = 0

        def __iter__(self) -> Iterator[IndexedDocument]:
            Counted.looks += 1
            return super().__iter__()

    documents = make_documents(3)
    content = PassageIndex.of(documents).content
    index = PassageIndex(replace(content, documents=Counted(content.documents)))
    assert index.text(documents[0].name) == documents[0].text
    looks = Counted.looks
    assert [index.text(document.name) for document in documents] == [document.text for document in documents]
    assert Counted.looks == looks
    with pytest.raises(InputError, match="the index has no document 'none'"):
        index.text("none")


def test_the_passage_that_shares_most_is_first() -> None:
    index = PassageIndex.of(
        [Document("a", "The boat is blue."), Document("b", "The tower is old. Nobody climbs it.")]
    )
    found = index.search("Who climbs the tower?")
    assert [passage.document for passage in found] == ["b", "a"]
    assert found[0].score > found[1].score


def test_passages_without_a_shared_term_come_last_and_in_order() -> None:
    index = PassageIndex.of(Document(name, text) for name, text in [("a", "x"), ("b", "y"), ("c", "z")])
    assert [(one.document, one.score > 0) for one in index.search("z?", 5)] == [
        ("c", True),
        ("a", False),
        ("b", False),
    ]


def test_question_words_do_not_count_unless_there_are_no_others() -> None:
    index = PassageIndex.of(
        [Document("a", "What and who and where"), Document("b", "A tower"), Document("c", "Boat")]
    )
    assert index.search("What is a tower?")[0].document == "b"
    assert index.search("Who?")[0].document == "a"


def test_a_lazy_document_is_read_once() -> None:
    calls: list[str] = []

    def read() -> str:
        calls.append("read")
        return "A text."

    index = PassageIndex.of([LazyDocument("a", "0" * 64, read)])
    assert (index.passage(0).text, calls) == ("A text.", ["read"])


def test_halves_of_surrogate_pairs_stay() -> None:
    index = PassageIndex.of([Document("a", "half \ud83d of a pair")])
    assert index.search("pair")[0].text == "half \ud83d of a pair"


def test_an_index_of_nothing_finds_nothing() -> None:
    assert PassageIndex.of([]).search("Who?") == []
    assert PassageIndex.of([Document("a", "")]).search("Who?") == []


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([Document("a", "x"), Document("a", "y")], "two documents have the name 'a'"),
        (["text"], "a document is 'text'; it must be a Document or a LazyDocument"),
        ([Document("a", b"x")], "the text of a document is b'x'"),  # type: ignore[arg-type]
        ([Document(3, "x")], "the name of a document is 3"),  # type: ignore[arg-type]
        ([Document("\udcff", "x")], "has characters that are no text"),
        ([LazyDocument("a", "0", lambda: None)], "the text of a is None"),  # type: ignore[arg-type,return-value]
    ],
)
def test_wrong_documents_are_refused(documents: list[Document], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PassageIndex.of(documents)


@pytest.mark.parametrize("count", [0, -1, 2.0, None, True])
def test_a_wrong_count_is_refused(count: int) -> None:
    with pytest.raises(InputError, match="it must be an integer from 1"):
        PassageIndex.of([]).search("Who?", count)


def test_a_question_is_a_text() -> None:
    with pytest.raises(InputError, match="the question is 3"):
        PassageIndex.of([]).search(3)  # type: ignore[arg-type]
