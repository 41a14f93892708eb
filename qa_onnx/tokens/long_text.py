"""Long text -> its tokens, part by part, so that the memory for it is a small multiple of the text.

The tokenizers library keeps some 200 bytes for each token, and what is learned of a text with a million different
words is as large. BERT's tokenizer never looks across a blank, or across a character that is a word of its own,
such as a Chinese one, so a long text is cut there. Each part is tokenized as a text of its own (wordpiece.py, or
the library), and the tokens are kept as arrays: one of the library takes 16 bytes, one of a remembered word 8.

Left out: texts of tokenizers of other kinds, whose tokens may depend on what stands before a blank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tokenizers
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from qa_onnx.tokens.wordpiece import WordPiece, WordTokens

PART = 1 << 16  # characters


class LibraryTokens:
    """The tokens of a text as arrays, with those methods of `tokenizers.Encoding` that qa-onnx uses.

    Args:
        encoding: of the library, without special tokens.

    Attributes:
        ids: int32 (N,), token ids.
        words: how many words they belong to.
    """

    def __init__(self, encoding: tokenizers.Encoding) -> None:
        self.ids: NDArray[np.int32] = np.array(encoding.ids, np.int32)
        self._characters = np.array(encoding.offsets, np.int32).reshape(-1, 2)
        self._words = np.array([-1 if word is None else word for word in encoding.word_ids], np.int32)
        self.words = int(self._words.max(initial=-1)) + 1

    def token_to_chars(self, token: int) -> tuple[int, int] | None:
        """Return the characters of a token, half-open; None: there is no such token."""
        if not 0 <= token < len(self.ids):
            return None
        start, end = self._characters[token]
        return int(start), int(end)

    def token_to_word(self, token: int) -> int | None:
        """Return the index of a token's word; None: there is no such token, or it belongs to none."""
        if not 0 <= token < len(self.ids) or self._words[token] < 0:
            return None
        return int(self._words[token])

    def word_to_tokens(self, word: int) -> tuple[int, int] | None:
        """Return the tokens of a word, half-open; None: there is no such word."""
        tokens = np.flatnonzero(self._words == word)  # a token without a word has -1
        return (int(tokens[0]), int(tokens[-1]) + 1) if word >= 0 and len(tokens) else None

    def char_to_token(self, character: int) -> int | None:
        """Return the first token that a character belongs to; None: to none."""
        starts, ends = self._characters.T
        tokens = np.flatnonzero((starts <= character) & (character < ends))
        return int(tokens[0]) if len(tokens) else None


class LongTokens:
    """The tokens of a long text, with those methods of `tokenizers.Encoding` that qa-onnx uses.

    Args:
        text: the text.
        wordpiece: tokenizes most parts of it.
        tokenizer: the same tokenizer of the library, for the others.
        part: about how many characters a part has.

    Attributes:
        ids: int32 (N,), token ids.
    """

    def __init__(self, text: str, wordpiece: WordPiece, tokenizer: Tokenizer, *, part: int = PART) -> None:
        self._parts: list[WordTokens | LibraryTokens] = []
        firsts = [[0], [0], [0]]  # token, character and word of each part, and those after the last one
        for start, end in _cut(text, wordpiece, part):
            piece = text[start:end]
            tokens: WordTokens | LibraryTokens | None = wordpiece.encode(piece)
            if tokens is None:
                tokens = LibraryTokens(tokenizer.encode(piece, add_special_tokens=False))
            self._parts.append(tokens)
            for first, count in zip(firsts, (len(tokens.ids), len(piece), tokens.words), strict=True):
                first.append(first[-1] + count)
        self._tokens, self._characters, self._words = (np.array(first, np.int64) for first in firsts)
        self.ids: NDArray[np.int32] = np.concatenate([np.empty(0, np.int32), *(one.ids for one in self._parts)])

    def token_to_chars(self, token: int) -> tuple[int, int] | None:
        """Return the characters of a token, half-open; None: there is no such token."""
        number, token = self._locate(self._tokens, token)
        return (
            None
            if number is None
            else self._shift(self._characters, number, self._parts[number].token_to_chars(token))
        )

    def token_to_word(self, token: int) -> int | None:
        """Return the index of a token's word; None: there is no such token."""
        number, token = self._locate(self._tokens, token)
        word = None if number is None else self._parts[number].token_to_word(token)
        return None if number is None or word is None else word + int(self._words[number])

    def word_to_tokens(self, word: int) -> tuple[int, int] | None:
        """Return the tokens of a word, half-open; None: there is no such word."""
        number, word = self._locate(self._words, word)
        return (
            None if number is None else self._shift(self._tokens, number, self._parts[number].word_to_tokens(word))
        )

    def char_to_token(self, character: int) -> int | None:
        """Return the token that a character belongs to; None: to none."""
        number, character = self._locate(self._characters, character)
        token = None if number is None else self._parts[number].char_to_token(character)
        return None if number is None or token is None else token + int(self._tokens[number])

    @staticmethod
    def _locate(firsts: NDArray[np.int64], at: int) -> tuple[int | None, int]:
        """Return the part that a token, character or word lies in (None: in none), and its place there."""
        if not 0 <= at < firsts[-1]:
            return None, at
        number = int(np.searchsorted(firsts, at, side="right")) - 1
        return number, at - int(firsts[number])

    @staticmethod
    def _shift(firsts: NDArray[np.int64], number: int, part: tuple[int, int] | None) -> tuple[int, int] | None:
        first = int(firsts[number])
        return None if part is None else (first + part[0], first + part[1])


def _cut(text: str, wordpiece: WordPiece, part: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each part of a text; it ends after a blank or a character that is a word."""
    known: dict[str, bool] = {}  # a character that needs the library is looked up anew each time
    start = 0
    while start < len(text):
        end = start + part
        if end < len(text):
            border = max(text.rfind(blank, start, end) for blank in " \n") + 1
            if border > start:
                end = border
            else:  # a long text without a blank: Chinese, or one that shall do harm
                while end < len(text):
                    character = text[end]
                    end += 1
                    if character not in known:
                        known[character] = wordpiece.is_border(character)
                    if known[character]:
                        break
        yield start, min(end, len(text))
        start = end
