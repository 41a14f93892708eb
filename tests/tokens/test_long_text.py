"""A long text has the same tokens, at the same places, whether it is tokenized in parts or at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx.tokens import long_text
from qa_onnx.tokens.encoder import TextEncoder
from qa_onnx.tokens.long_text import library_tokens, long_tokens
from qa_onnx.tokens.wordpiece import WordPiece
from tests.tokens.test_wordpiece import KINDS, OWN, TINY_JSON, compare

if TYPE_CHECKING:
    from tokenizers import Encoding

    from qa_onnx.tokens.encoding import Tokens

PIECES = (
    "The Café",
    "[SEP]",
    " ",
    "\n",
    "mast's",
    "東京",
    "東\u3099京",
    "、\u3099",
    "e\u0301",
    "한",
    "\u0301",
    "a\0b",
    "\u200d",
)


def check(kind: str, text: str, part: int) -> None:
    """Compare everything with the library, which gets the text as a whole."""
    own, other = (
        long_tokens(text, OWN[kind], KINDS[kind], part=part),
        KINDS[kind].encode(text, add_special_tokens=False),
    )
    compare(own, other, text)


@pytest.mark.parametrize("kind", KINDS)
@given(
    parts=st.lists(st.one_of(st.text(max_size=6), st.sampled_from(PIECES)), max_size=20), part=st.integers(1, 12)
)
def test_parts_have_the_tokens_of_the_whole(kind: str, parts: list[str], part: int) -> None:
    check(kind, "".join(parts).encode("utf-8", "replace").decode("utf-8"), part)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 300,
        "mast " * 60,
        "東京" * 40,
        "-," * 90,
        "\u0301" * 200,
        f"{'y' * 150} mast {'e' + chr(0x301)}\nlamp " * 9,
        "",
        " " * 99,
    ],
    ids=ascii,
)
def test_texts_with_and_without_blanks(text: str) -> None:
    for part in (1, 7, 64):
        check("uncased", text, part)
    assert max(end - start for start, end in long_text._cut(f"{text} ", OWN["uncased"], 7)) <= 301


def test_only_a_part_that_needs_the_library_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def noted(encoding: Encoding) -> Tokens:
        lengths.append(len(encoding))
        return library_tokens(encoding)

    monkeypatch.setattr(long_text, "library_tokens", noted)
    long_tokens("mast lamp " * 10 + "e\u0301 " + "mast lamp " * 10, OWN["uncased"], KINDS["uncased"], part=20)
    assert len(lengths) == 1
    assert lengths[0] < 10


def test_no_part_of_a_text_of_different_words_is_larger_than_it_should_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths = []
    encode = WordPiece.encode

    def noted(self: WordPiece, text: str) -> Tokens | None:
        lengths.append(len(text))
        return encode(self, text)

    monkeypatch.setattr(WordPiece, "encode", noted)
    text = " ".join(map(str, range(10**6, 10**6 + 25_000)))
    [encoding] = TextEncoder(TINY_JSON).encode([text])
    assert len(encoding.ids) >= 25_000
    assert sum(lengths) == len(text)
    assert max(lengths) <= long_text.PART
