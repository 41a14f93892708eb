"""A context and its tokens, kept for the next question that is asked of it.

Tokenizing a long text takes longer than asking it one more question, and people ask one text many questions.
Left out: how a text is tokenized, and cut into windows (windows.py).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.tokens.special_tokens import Ids


class Encoding(Protocol):
    """The tokens of a text and their places: `tokenizers.Encoding`, or `wordpiece.WordTokens`.

    Tokens, words and characters are counted from 0, ranges are half-open, and what is not there is None.
    """

    @property
    def ids(self) -> list[int] | NDArray[np.int32]:
        """Token ids."""

    def token_to_chars(self, token: int, /) -> tuple[int, int] | None:
        """Characters of a token."""

    def token_to_word(self, token: int, /) -> int | None:
        """The word that a token is of."""

    def word_to_tokens(self, word: int, /) -> tuple[int, int] | None:
        """Tokens of a word."""

    def char_to_token(self, character: int, /) -> int | None:
        """The token that a character is in."""


@dataclass(frozen=True, slots=True)
class EncodedContext:
    """A context and its tokens, shared by all of its windows and by all questions asked of it.

    Attributes:
        text: the context as given.
        ids: int64 (N,), the token ids without special tokens.
        encoding: the tokenizer's result, kept for its offsets.
    """

    text: str
    ids: Ids
    encoding: Encoding

    def characters(self, start: int, end: int) -> tuple[int, int]:
        """Characters, half-open, of the tokens `start` to `end`, inclusive, of this context."""
        first, last = self.encoding.token_to_chars(start), self.encoding.token_to_chars(end)
        assert first is not None, start  # no special tokens in here: every token has characters
        assert last is not None, end
        return first[0], last[1]

    def words(self, start: int, end: int) -> tuple[int, int]:
        """Widen the tokens `start` to `end`, inclusive, to the words that these two belong to.

        Words are those that the tokenizer splits text into before it cuts them into tokens.
        """
        first, last = (self.encoding.token_to_word(token) for token in (start, end))
        if first is None or last is None:
            return start, end
        first_tokens, last_tokens = self.encoding.word_to_tokens(first), self.encoding.word_to_tokens(last)
        if first_tokens is None or last_tokens is None:
            return start, end
        return first_tokens[0], last_tokens[1] - 1


class ContextCache:
    """The contexts that were used last. Any number of threads may share it.

    Args:
        characters: how many it holds in all; at some 22 bytes each, a million take 22 MB. A longer context
            is not kept.
    """

    def __init__(self, *, characters: int) -> None:
        self._limit = characters
        self._held = 0
        self._contexts: OrderedDict[str, EncodedContext] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, texts: Iterable[str], encode: Callable[[list[str]], list[EncodedContext]]
    ) -> dict[str, EncodedContext]:
        """Each text's context; those that are not held are encoded, outside the lock."""
        wanted = set(texts)
        with self._lock:
            found = {text: self._contexts[text] for text in wanted if text in self._contexts}
            for text in found:
                self._contexts.move_to_end(text)
        missing = [text for text in wanted if text not in found]
        if not missing:
            return found
        made = encode(missing)
        with self._lock:
            for context in made:
                self._keep(context)
        return found | {context.text: context for context in made}

    def clear(self) -> None:
        """Hold nothing."""
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
