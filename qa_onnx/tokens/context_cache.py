"""Contexts -> their tokens and offsets, kept for the next question about the same text.

Tokenizing a long text takes longer than answering one more question about it, and people ask many questions about
one text. Left out: how a text is tokenized (encoder.py) and cut into windows (windows.py).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from qa_onnx.tokens.special_tokens import Ids


class Encoding(Protocol):
    """The tokens of a text and their offsets: `tokenizers.Encoding` or `wordpiece.WordTokens`.

    Tokens, words and characters are counted from 0, ranges are half-open, and None stands for no such thing.
    """

    @property
    def ids(self) -> list[int] | NDArray[np.int32]:
        """Token ids."""

    def token_to_chars(self, token: int, /) -> tuple[int, int] | None:
        """Return the characters of a token."""

    def token_to_word(self, token: int, /) -> int | None:
        """Return the word that a token belongs to."""

    def word_to_tokens(self, word: int, /) -> tuple[int, int] | None:
        """Return the tokens of a word."""

    def char_to_token(self, character: int, /) -> int | None:
        """Return the token that a character belongs to."""


@dataclass(frozen=True, slots=True)
class EncodedContext:
    """A context and its tokens, shared by all of its windows and all questions about it.

    Attributes:
        text: the context.
        ids: int64 (N,), the token ids without special tokens.
        encoding: the tokens with their offsets.
    """

    text: str
    ids: Ids
    encoding: Encoding

    def characters(self, start: int, end: int) -> tuple[int, int]:
        """Return the characters, half-open, of the tokens `start` to `end`, inclusive."""
        first, last = self.encoding.token_to_chars(start), self.encoding.token_to_chars(end)
        assert first is not None, start  # every token has characters, as there are no special tokens
        assert last is not None, end
        return first[0], last[1]

    def words(self, start: int, end: int) -> tuple[int, int]:
        """Widen a range of tokens, `start` to `end` inclusive, to whole words.

        A word is what the tokenizer splits text into before it splits words into tokens.
        """
        first, last = (self.encoding.token_to_word(token) for token in (start, end))
        if first is None or last is None:
            return start, end
        first_tokens, last_tokens = self.encoding.word_to_tokens(first), self.encoding.word_to_tokens(last)
        if first_tokens is None or last_tokens is None:
            return start, end
        return first_tokens[0], last_tokens[1] - 1


class ContextCache:
    """Contexts that were used recently. Any number of threads may share it.

    Args:
        encode: tokenizes texts.
        characters: how many it holds in all, at some 22 bytes each. A longer context is not kept.
    """

    def __init__(self, encode: Callable[[list[str]], list[Encoding]], *, characters: int) -> None:
        self._encode = encode
        self._limit = characters
        self._held = 0
        self._contexts: OrderedDict[str, EncodedContext] = OrderedDict()  # the least recently used one first
        self._lock = threading.Lock()

    def get(self, texts: Iterable[str]) -> dict[str, EncodedContext]:
        """Return the context of each text; those that are not held are encoded, outside of the lock."""
        wanted = set(texts)
        with self._lock:
            held = {text: self._contexts[text] for text in wanted if text in self._contexts}
            for text in held:
                self._contexts.move_to_end(text)
        missing = [text for text in wanted if text not in held]
        if not missing:
            return held
        new = {
            text: EncodedContext(text, np.array(encoding.ids, np.int64), encoding)
            for text, encoding in zip(missing, self._encode(missing), strict=True)
        }
        with self._lock:
            for context in new.values():
                self._keep(context)
        return held | new

    def clear(self) -> None:
        """Forget all contexts."""
        with self._lock:
            self._contexts.clear()
            self._held = 0

    def _keep(self, context: EncodedContext) -> None:
        if context.text in self._contexts or len(context.text) > self._limit:
            return
        self._contexts[context.text] = context
        self._held += len(context.text)
        while self._held > self._limit:
            oldest, _ = self._contexts.popitem(last=False)
            self._held -= len(oldest)
