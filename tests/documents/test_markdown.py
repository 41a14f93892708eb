"""Markdown: its layout, and that each place in the source reads as the text does."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qa_onnx.documents import DocumentReader, Limits
from qa_onnx.documents.markdown import markdown_text

SOURCE = """# The *mill*

It was built by **Ana** &amp; [Ben](http://ben "(Ben)")Ben in\r
1850 \\*. ![the mill](mill.png) <b>Stone</b>.

- wheat
- rye
  - dark

| name | age |
|------|-----|
| Ana `x` | 41  |

```py
py = 1
```
<div>Inside <i>here</i></div>
"""
TEXT = """The mill

It was built by Ana & BenBen in 1850 *. the mill Stone.

wheat
rye
dark

name: Ana x, age: 41.

py = 1

Inside here"""


def test_the_layout(reader: DocumentReader) -> None:
    assert reader.read_bytes(SOURCE.encode(), "a.md").text == TEXT


@pytest.mark.parametrize(
    ("part", "written"),
    [
        ("mill", "mill"),
        ("Ana & Ben", "Ana** &amp; [Ben"),
        ("Ben in 1850", "Ben in\r\n1850"),
        ("50 *", "50 \\*"),
        ("mill Stone", "mill](mill.png) <b>Stone"),
        ("x, age: 41", "x` | 41"),
        ("py = 1", "py = 1"),
        ("dark\n\nname", "dark"),
        ("side here", "side <i>here"),
    ],
)
def test_places_in_the_source(reader: DocumentReader, part: str, written: str) -> None:
    document = reader.read_bytes(SOURCE.encode(), "a.md")
    start = document.text.index(part)
    place = document.source_range(start, start + len(part))
    assert place is not None
    assert SOURCE[slice(*place)] == written


def test_the_second_of_two_same_words_is_found_behind_a_link(reader: DocumentReader) -> None:
    source = "[a](b (b)) b"
    document = reader.read_bytes(source.encode(), "a.md")
    assert document.text == "a b"
    assert document.source_range(2, 3) == (11, 12)


PARTS = st.sampled_from(
    ["a", "b", " ", "\n", "\n\n", "*", "**", "`", "[", "](a)", "](a 'b')", "\\*", "&amp;", "- ", "> ", "# ", "| ",
     "|-|-|\n", "```\n", "    ", "<b>", "![", "\r\n", "\t", "1. ", "~~", "&#0;", "\0", "\u2028", "é", "<http://a.b>"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PARTS, max_size=30).map("".join))
def test_text_and_places_of_any_document(source: str) -> None:
    text, origin = markdown_text(source, Limits())
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(source)
    shown = html.unescape(re.sub(r'<img[^>]*alt="([^"]*)"[^>]*>', r"\1", rendered))
    letters = re.findall("[abé]", re.sub("<[^>]*>", "", shown.replace("<http", "http")))
    if "|" not in source and "<" not in source:  # a header is written again with each row
        assert re.findall("[abé]", text) == letters
    for start, end, place, length in zip(origin.starts, origin.ends, origin.sources, origin.lengths, strict=True):
        piece, written = text[start:end], source[place : place + length]
        blanks = r"[ \t\n\r\f\v]+"
        assert re.sub(blanks, " ", written) == re.sub(blanks, " ", piece) or written[0] in "\\&", (piece, written)
    assert list(origin.sources) == sorted(origin.sources)
