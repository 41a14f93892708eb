"""The tokens of a text and their places in it: what the tokenizers library gives, and wordpiece.py as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
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
        blocks: index of the first token of each paragraph, list item or table cell but the first, ascending.
    """

    text: str
    ids: Ids
    encoding: Encoding
    blocks: tuple[int, ...] = ()

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """Return the characters, half-open, of the tokens `first` to `last`, inclusive."""
        opening, closing = self.encoding.token_to_chars(first), self.encoding.token_to_chars(last)
        assert opening is not None, first  # every token has characters, as there are no special tokens
        assert closing is not None, last
        (start, _), (_, end) = opening, closing
        return start, end

    def words(self, first: int, last: int) -> tuple[int, int]:
        """Widen the tokens `first` to `last`, inclusive, to whole words; return the first and the last token.

        A word is what the tokenizer splits text into before it splits words into tokens.
        """
        words = self.encoding.token_to_word(first), self.encoding.token_to_word(last)
        opening, closing = (None if word is None else self.encoding.word_to_tokens(word) for word in words)
        if opening is None or closing is None:
            return first, last
        (start, _), (_, end) = opening, closing
        return start, end - 1
