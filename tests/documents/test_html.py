"""HTML: its layout, and against lxml that no visible word is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.documents import DocumentReader, Limits

pytest.importorskip("selectolax")

PAGE = """<!doctype html><html><head><title>No</title><style>no</style></head><body>
<nav><a>no</a></nav><script>"no"</script><noscript>no</noscript><template>no</template>
<h1>The   mill</h1><p>Built<br>by &Eacute;lodie &amp; <b>Be</b>n.<p hidden>no</p><p style="display : none">no</p>
<ul><li>wheat<li>rye<ul><li>dark</ul></ul>
<table><thead><tr><th>name<th>age</tr></thead><tr><td>Ana<br>Ruiz<td>41</tr><tr><td colspan=2>both</table>
<table><tr><td>x<td>y<tr><td><table><tr><td>in<td>ner</table><td>z</table>
<pre>a
  b
</pre><div>one</div><div>two</div><svg><text>no</text></svg><!-- no --></body></html>"""
TEXT = """The mill

Built
by Élodie & Ben.

wheat
rye
dark

name: Ana Ruiz, age: 41.
both

x\ty
in ner\tz

a
  b

one
two"""


def test_the_layout(reader: DocumentReader) -> None:
    document = reader.read_bytes(PAGE.encode(), "a.html")
    assert document.text == TEXT
    assert document.source_range(0, 3) is None


MARKS = [
    "b",
    "/b",
    "p",
    "li",
    "ul",
    "/ul",
    "td",
    "table",
    "tr",
    "/table",
    "div",
    "/div",
    "br",
    "pre",
    "/pre",
    "h1",
    "th",
]
WORDS = st.sampled_from(["one", "two&amp;", " ", *(f"<{mark}>" for mark in MARKS)])


@given(st.lists(WORDS, max_size=40).map("".join))
def test_every_letter_of_the_tree_is_in_the_text(source: str) -> None:
    """The tree is that of the same parser: what it does with damage is not ours."""
    from selectolax.lexbor import LexborHTMLParser

    from qa_onnx.documents.html import html_text

    text = html_text(source, Limits())
    body = LexborHTMLParser(source).body
    assert body is not None
    if "<th>" not in source:  # a header is written again with each row
        assert "".join(text.split()) == "".join(body.text().split())


def test_words_beside_blocks_stay_apart(reader: DocumentReader) -> None:
    lxml_html = pytest.importorskip("lxml.html")
    source = "<div>a<p>b<span>c</span> d</p>e<ul><li>f</li><li>g</li></ul></div>"
    source += "<table><tr><td>h</td><td>i</td></tr></table>"
    lines = reader.read_bytes(source.encode(), "a.html").text.split()
    assert lines == ["a", "bc", "d", "e", "f", "g", "h", "i"]
    assert "".join(lines) == "".join(lxml_html.fromstring(source).text_content().split())
