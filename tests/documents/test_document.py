"""A document: its pages, and where its text stands."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.documents import Document, Origin


def test_pages_are_counted_from_1() -> None:
    document = Document("a", "one\n\ftwo\n\f\n\ffour")
    assert document.pages == 4
    assert [document.page(document.text.index(word)) for word in ("one", "two", "four")] == [1, 2, 4]


def test_a_document_of_name_and_text_has_no_places() -> None:
    document = Document("a", "text")
    assert (document.kind, document.source_range(0, 4), document.cell(0, 4)) == ("text", None, None)


@given(
    st.lists(st.tuples(st.text("ab", min_size=1, max_size=3), st.sampled_from(["", "\n", "**"])), max_size=8),
    st.data(),
)
def test_a_range_of_the_text_is_one_of_the_source(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    """Against a table of the place of each character."""
    origin, text, source, places = Origin(), "", "", []
    for piece, markup in parts:
        origin.add(len(text), len(text) + len(piece), len(source), len(piece))
        places += [*range(len(source), len(source) + len(piece)), -1]
        text += piece + " "
        source += piece + markup
    document = Document("a", text, "markdown", origin)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    known = [place for place in places[start:end] if place >= 0]
    assert document.source_range(start, end) == ((known[0], known[-1] + 1) if known else None)
