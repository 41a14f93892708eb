"""Contexts are tokenized once while they are remembered, and the memory for that is bounded."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qa_onnx import Example, Options, Reader, Windower
from qa_onnx.testing import FakeSession
from qa_onnx.tokens.context_cache import ContextCache

if TYPE_CHECKING:
    from qa_onnx.tokens.encoding import EncodedContext, Tokens

OPTIONS = Options(max_length=32, doc_stride=8, max_question_length=8)


class Encoder:
    """Gives every text the same tokens and notes the texts."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.seen: list[str] = []

    def __call__(self, texts: list[str]) -> list[Tokens]:
        self.seen += texts
        return [self.tokens for _ in texts]


@pytest.fixture
def encoder(windower: Windower) -> Encoder:
    window = windower.cut([Example("Who?", "The keeper.")], OPTIONS)[0].windows[0]
    return Encoder(window.context.tokens)


def test_a_text_is_encoded_once(encoder: Encoder) -> None:
    cache = ContextCache(encoder, characters=100)
    first = cache.get(["one", "two", "one"])
    second = cache.get(["two", "three"])
    assert sorted(encoder.seen) == ["one", "three", "two"]
    assert first.keys() == {"one", "two"}
    assert second["two"] is first["two"]
    assert all(text == context.text for text, context in (first | second).items())


def test_what_was_used_last_stays_within_the_limit(encoder: Encoder) -> None:
    cache = ContextCache(encoder, characters=6)
    for text in ("aaa", "bbb", "aaa", "ccc", "too long", "aaa", "ccc"):  # for ccc, bbb goes
        assert cache.get([text])[text].text == text
    assert encoder.seen == ["aaa", "bbb", "ccc", "too long"]
    cache.get(["bbb"])
    cache.get(["too long"])
    assert encoder.seen[4:] == ["bbb", "too long"]
    cache.clear()
    cache.get(["bbb", "ccc"])
    cache.get(["ccc", "bbb"])  # there is room for both again
    assert sorted(encoder.seen[6:]) == ["bbb", "ccc"]


def test_a_reader_forgets_contexts(windower: Windower) -> None:
    def context() -> EncodedContext:
        return windower.cut([Example("Who?", "A text to forget.")], OPTIONS)[0].windows[0].context

    first = context()
    assert context() is first
    Reader(session=FakeSession(), windower=windower, options=OPTIONS).steps.windower.forget()
    again = context()
    assert again is not first
    assert again.ids.tolist() == first.ids.tolist()


def test_memory_is_bounded_and_threads_may_share_it(encoder: Encoder) -> None:
    cache = ContextCache(encoder, characters=50)
    texts = [f"text {number:03}" for number in range(200)]

    def use(start: int) -> bool:
        return all(cache.get([text])[text].text == text for text in texts[start:] + texts[:start])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(0, 200, 25)))
    encoder.seen.clear()
    for text in reversed(texts):
        cache.get([text])
    assert len(encoder.seen) >= len(texts) - 50 // len(texts[0])


def test_tokens_are_widened_to_the_words_that_they_are_part_of(windower: Windower) -> None:
    text = "The lighthouse-keeper's unfathomable boat"
    context = windower.cut([Example("Who?", text)], Options())[0].windows[0].context
    for first in range(len(context.ids)):
        for last in range(first, len(context.ids)):
            start, end = context.characters(*context.words(first, last))
            inner = context.characters(first, last)
            assert start <= inner[0] < inner[1] <= end
            found = text[start:end]
            assert found in {
                text[match.start() : other.end()]
                for match in re.finditer(r"\w+|\S", text)
                for other in re.finditer(r"\w+|\S", text)
            }
            assert text[inner[1] : end].isalnum() or inner[1] == end
            assert text[start : inner[0]].isalnum() or inner[0] == start
