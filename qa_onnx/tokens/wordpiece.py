"""A text -> its tokens, as BERT's tokenizer makes them, from pieces of text that are remembered.

The tokenizers library goes through a text some eight times and keeps account of where every character came from:
2 to 3 us a token, most of all that is done besides running the model. But BERT's normalizer and splitter look at
one character at a time, its WordPiece at one word at a time, and none of them across a blank. So a text is split
at its blanks, and a table has the tokens of each chunk between two of them, such as "lamp,". A new chunk is
normalized and split into words by a table of characters, and new words are tokenized by the library, all those of
a text in one call; it is asked once about each character, too.

Left out: texts with a character that becomes none or several (a combining accent, a control character) or that is
new when very many are known, and texts with a word of over 100 characters: they go to the library whole, as those
of other tokenizers do.
"""

from __future__ import annotations

import struct
import threading
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from numpy.typing import NDArray

    Place = tuple[int, int]  # characters, half-open
    Split = Callable[[str], list[tuple[str, Place]]]
    Encode = Callable[[str], tuple[list[int], list[Place]]]

# Of a token: its id, its characters, none of them blank, and whether it is the first of its word.
_TOKEN = np.dtype([("id", np.int32), ("length", np.uint8), ("opens", np.bool_)], align=True)
_pack = struct.Struct("=iB?2x").pack

_LONGEST = 100  # characters of a word: WordPiece's own limit, beyond which a word is unknown
_MOST_LETTERS = 300_000  # of all chunks and words remembered: some 35,000 of them, and 5 MB; at most 22 MB
_MOST_CHARACTERS = 30_000  # remembered, in 6 MB


class NotOne(Exception):  # noqa: N818  # never leaves this module
    """A character that becomes none or several."""


class WordPiece:
    """Tokenizes texts from what it remembers of others. Any number of threads may share it.

    Args:
        normalize: BERT's normalizer.
        split: text -> words, each with its place: BERT's splitter.
        encode: normalized words, with blanks between them -> token ids and their places.
    """

    def __init__(self, normalize: Callable[[str], str], split: Split, encode: Encode) -> None:
        self._encode = encode
        self._table = _CharacterTable(normalize, split)
        self._known = _Known()
        self._lock = threading.Lock()  # to add to it

    def encode(self, text: str) -> WordTokens | None:
        """The tokens of a text, without special tokens; None: the text needs the library.

        Raises:
            Exception: the vocabulary has no token for the unknown; the library's own error.
        """
        chunks = text.split(" ")
        known = self._known.chunks  # other threads add to it, or replace it
        try:
            tokens = b"".join([known[chunk] for chunk in chunks])
        except KeyError:
            learned = self._learn(set(chunks).difference(known))
            if learned is None:
                return None
            tokens = b"".join([learned[chunk] if chunk in learned else known[chunk] for chunk in chunks])
        return WordTokens(text, np.frombuffer(tokens, _TOKEN), self)

    def forget(self) -> None:
        """Forget all chunks and words; how single characters are normalized stays."""
        with self._lock:
            self._known = _Known()  # other threads may still read the old one

    def words(self, text: str) -> list[str]:
        """The words of a text, normalized, each as long as in the text.

        Raises:
            NotOne: the text needs the library.
        """
        return text.translate(self._table).split()

    def marks(self, text: str) -> NDArray[np.intp]:
        """Where the characters of such a text are that are not blank."""
        normalized = text.translate(self._table.normalized)
        return np.flatnonzero(np.frombuffer(normalized.encode("utf-32-le"), np.uint32) != ord(" "))

    def _learn(self, chunks: Set[str]) -> dict[str, bytes] | None:
        """The tokens of chunks that are new, remembered if there is room; None: the text needs the library."""
        try:
            split = {chunk: self.words(chunk) for chunk in chunks}
        except NotOne:
            return None
        known = self._known.words
        new = {word for words in split.values() for word in words if word not in known}
        if max(map(len, new), default=0) > _LONGEST:
            return None
        tokens = self._tokens([*new])
        learned = {
            chunk: b"".join([tokens[word] if word in tokens else known[word] for word in words])
            for chunk, words in split.items()
        }
        kept = {chunk: learned[chunk] for chunk in learned if len(chunk) <= _LONGEST}
        letters = sum(map(len, kept)) + sum(map(len, tokens))
        if letters <= _MOST_LETTERS:
            with self._lock:
                if self._known.letters + letters > _MOST_LETTERS:
                    self._known = _Known()  # other threads may still read the old one
                self._known.add(kept, tokens)
        return learned

    def _tokens(self, words: list[str]) -> dict[str, bytes]:
        ids, places = self._encode(" ".join(words))
        tokens: list[bytes] = []  # of each word
        last = -1
        for token_id, (start, end) in zip(ids, places, strict=True):
            opens = start > last  # there is a blank before it
            token = _pack(token_id, end - start, opens)
            if opens:
                tokens.append(token)
            else:
                tokens[-1] += token
            last = end
        return dict(zip(words, tokens, strict=True))


class WordTokens:
    """The tokens of a text and their places, as far as `tokenizers.Encoding` tells them, by the same names.

    Tokens leave out no character but blanks, so they are placed by counting the others.

    Args:
        text: as it was given.
        tokens: (N,) of `_TOKEN`.
        wordpiece: knows which characters are blank, when places are asked for: of many texts they never are.
    """

    def __init__(self, text: str, tokens: NDArray[Any], wordpiece: WordPiece) -> None:
        self._text = text
        self._tokens = tokens
        self._wordpiece = wordpiece

    @property
    def ids(self) -> NDArray[np.int32]:
        """Token ids, (N,)."""
        return self._tokens["id"]

    def token_to_chars(self, token: int) -> tuple[int, int] | None:
        """Characters of a token, half-open; None: there is no such token."""
        if not 0 <= token < len(self._tokens):
            return None
        end = int(self._ends[token])
        start = end - int(self._tokens["length"][token])
        return int(self._marks[start]), int(self._marks[end - 1]) + 1

    def token_to_word(self, token: int) -> int | None:
        """The index of the word that a token is of; None: there is no such token."""
        if not 0 <= token < len(self._tokens):
            return None
        return int(np.searchsorted(self._words, token, side="right")) - 1

    def word_to_tokens(self, word: int) -> tuple[int, int] | None:
        """Tokens of a word, half-open; None: there is no such word."""
        if not 0 <= word < len(self._words):
            return None
        end = self._words[word + 1] if word + 1 < len(self._words) else len(self._tokens)
        return int(self._words[word]), int(end)

    def char_to_token(self, character: int) -> int | None:
        """The token that a character is in; None: in none."""
        mark = int(np.searchsorted(self._marks, character))
        if mark == len(self._marks) or self._marks[mark] != character:
            return None
        return int(np.searchsorted(self._ends, mark, side="right"))

    @cached_property
    def _words(self) -> NDArray[np.intp]:
        """The first token of each word."""
        return np.flatnonzero(self._tokens["opens"])

    @cached_property
    def _ends(self) -> NDArray[np.intp]:
        """Where each token ends, in marks."""
        return np.cumsum(self._tokens["length"], dtype=np.intp)

    @cached_property
    def _marks(self) -> NDArray[np.intp]:
        """Where the text's characters are that are not blank."""
        return self._wordpiece.marks(self._text)


class _Known:
    """The tokens of texts, as bytes, each text by itself.

    Attributes:
        chunks: of what stands between two blanks of a text; of nothing, too.
        words: of normalized words.
        letters: of all these texts.
    """

    def __init__(self) -> None:
        self.chunks = {"": b""}
        self.words: dict[str, bytes] = {}
        self.letters = 0

    def add(self, chunks: dict[str, bytes], words: dict[str, bytes]) -> None:
        """Texts that are there already count once."""
        for table, more in ((self.chunks, chunks), (self.words, words)):
            self.letters += sum(len(text) for text in more if text not in table)
            table.update(more)


class _CharacterTable(dict[int, str]):
    """Characters by code point, normalized: a blank, or what is a word of its own between blanks.

    Attributes:
        normalized: the same characters without these blanks.
    """

    def __init__(self, normalize: Callable[[str], str], split: Split) -> None:
        self._normalize, self._split = normalize, split
        self.normalized = {ord(" "): " "}

    def __missing__(self, code: int) -> str:
        normalized = self._normalize(chr(code))
        character = normalized if len(normalized) == 1 else normalized.strip()  # ideograms come between blanks
        # Marks are sorted by class where several follow one another: they are not as if each stood alone.
        if len(character) != 1 or unicodedata.combining(chr(code)) or len(self) >= _MOST_CHARACTERS:
            raise NotOne
        words = [word for word, _ in self._split(f"a{normalized}a")]
        if words == ["a", "a"]:
            blanked = character = " "
        elif words == ["a", character, "a"]:
            blanked = f" {character} "
        elif words == [f"a{character}a"] and not character.isspace():
            blanked = character
        else:
            raise NotOne
        self.normalized[code] = character  # first: who finds a character in one finds it in the other
        self[code] = blanked
        return blanked
