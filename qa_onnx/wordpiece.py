"""A text -> its tokens, as BERT's tokenizer makes them, from words that are remembered.

The tokenizers library goes through a text some eight times and keeps account of where every character came from:
2 to 3 us a token, most of all that is done besides running the model. But BERT's normalizer and splitter look at
one character at a time, and its WordPiece at one word at a time. So a table of characters puts blanks around
punctuation, `str.split` finds the words, and a table of words has their tokens, in a third of the time. Both
tables are filled by asking the library, the first time that a character or word comes.

Left out: texts with a character that becomes none or several (a combining accent, a control character), with a
word of over 100 characters, or with more new words than are remembered: they go to the library whole, as those of
other tokenizers do.
"""

from __future__ import annotations

import threading
import unicodedata
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate, chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Place = tuple[int, int]  # characters, half-open
    Split = Callable[[str], list[tuple[str, Place]]]
    Encode = Callable[[list[str]], list[tuple[list[int], list[Place]]]]

_LONGEST = 100  # characters of a word: WordPiece's own limit, beyond which a word is unknown
_MOST_LETTERS = 150_000  # of all words remembered: some 20,000 words, and 8 MB
_MOST_CHARACTERS = 30_000  # remembered, in 6 MB


class NotOne(Exception):  # noqa: N818  # never leaves this module
    """A character that becomes none or several."""


class Pieces(NamedTuple):
    """The tokens of a word.

    Attributes:
        ids: token ids.
        ends: where each token ends, in characters of the word.
    """

    ids: tuple[int, ...]
    ends: tuple[int, ...]


class WordPiece:
    """Tokenizes texts from remembered words. Any number of threads may share it.

    Args:
        normalize: BERT's normalizer.
        split: text -> words, each with its place: BERT's splitter.
        encode: normalized words -> the token ids of each, and their places.
    """

    def __init__(self, normalize: Callable[[str], str], split: Split, encode: Encode) -> None:
        self._encode = encode
        self._table = _Table(normalize, split)
        self._known: dict[str, Pieces] = {}
        self._letters = 0  # of them
        self._lock = threading.Lock()  # of both

    def encode(self, text: str) -> WordTokens | None:
        """The tokens of a text, without special tokens; None: the text needs the library.

        Raises:
            Exception: the vocabulary has no token for the unknown; the library's own error.
        """
        try:
            words = self.words(text)
        except NotOne:
            return None
        known = self._known  # another thread may replace it
        if set(words).difference(known):
            learned = self._learn(set(words))
            if learned is None:
                return None
            known = learned
        return WordTokens(text, [known[word] for word in words], self)

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

    def _learn(self, words: set[str]) -> dict[str, Pieces] | None:
        """The tokens of these words, some of which are new; None: they are too long, or too many."""
        if max(map(len, words)) > _LONGEST or sum(map(len, words)) > _MOST_LETTERS:
            return None
        known = self._known
        found = {word: known[word] for word in words if word in known}
        new = [*words.difference(found)]
        learned = {
            word: Pieces(tuple(ids), tuple(end for _, end in places))
            for word, (ids, places) in zip(new, self._encode(new), strict=True)
        }
        with self._lock:
            if self._letters + sum(map(len, new)) > _MOST_LETTERS:
                self._known, self._letters = {}, 0  # other threads may still read the old one
            self._letters += sum(len(word) for word in new if word not in self._known)
            self._known |= learned
        return found | learned


class WordTokens:
    """The tokens of a text and their places, as far as `tokenizers.Encoding` tells them, by the same names.

    Tokens leave out no character but blanks, so they are placed by counting the others.

    Args:
        text: as it was given.
        pieces: of its words.
        wordpiece: knows which characters are blank, when places are asked for: of many texts they never are.
    """

    def __init__(self, text: str, pieces: Sequence[Pieces], wordpiece: WordPiece) -> None:
        self._text = text
        self._pieces = pieces
        self._wordpiece = wordpiece

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        return [*chain.from_iterable([ids for ids, _ in self._pieces])]

    def token_to_chars(self, token: int) -> tuple[int, int] | None:
        """Characters of a token, half-open; None: there is no such token."""
        word = self.token_to_word(token)
        if word is None:
            return None
        first, ends = self._first_marks[word], self._pieces[word].ends
        piece = token - self._first_tokens[word]
        start = first + (ends[piece - 1] if piece else 0)
        return int(self._marks[start]), int(self._marks[first + ends[piece] - 1]) + 1

    def token_to_word(self, token: int) -> int | None:
        """The index of the word that a token is of; None: there is no such token."""
        word = bisect_right(self._first_tokens, token) - 1
        return word if 0 <= word < len(self._pieces) else None

    def word_to_tokens(self, word: int) -> tuple[int, int] | None:
        """Tokens of a word, half-open; None: there is no such word."""
        if not 0 <= word < len(self._pieces):
            return None
        return self._first_tokens[word], self._first_tokens[word + 1]

    def char_to_token(self, character: int) -> int | None:
        """The token that a character is in; None: in none."""
        mark = int(np.searchsorted(self._marks, character))
        if mark == len(self._marks) or self._marks[mark] != character:
            return None
        word = bisect_right(self._first_marks, mark) - 1
        return self._first_tokens[word] + bisect_right(self._pieces[word].ends, mark - self._first_marks[word])

    @cached_property
    def _first_tokens(self) -> list[int]:
        """Of each word, and the number of tokens."""
        return [*accumulate([len(ids) for ids, _ in self._pieces], initial=0)]

    @cached_property
    def _first_marks(self) -> list[int]:
        """Of each word, and the number of marks."""
        return [*accumulate([ends[-1] for _, ends in self._pieces], initial=0)]

    @cached_property
    def _marks(self) -> NDArray[np.intp]:
        """Where the text's characters are that are not blank."""
        return self._wordpiece.marks(self._text)


class _Table(dict[int, str]):
    """Characters by code point, normalized: a blank, or what is a word of its own between blanks.

    Attributes:
        normalized: the same characters without these blanks.
    """

    def __init__(self, normalize: Callable[[str], str], split: Split) -> None:
        self._normalize, self._split = normalize, split
        self.normalized: dict[int, str] = {}

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
