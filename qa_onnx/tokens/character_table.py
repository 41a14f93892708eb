"""Character -> what BERT's normalizer makes of it, learned one by one; for wordpiece.py."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Offsets = tuple[int, int]  # of characters, half-open
    Split = Callable[[str], list[tuple[str, Offsets]]]

_TABLE = 30_000  # characters in the table of characters, 6 MB


class NotOneToOneError(Exception):
    """A character does not become exactly one, so its text needs the library."""


class CharacterTable(dict[int, str]):
    """Code point -> normalized character, between blanks where it is a word of its own; for `str.translate`.

    Attributes:
        blanks: the characters but the space itself that become a space.
    """

    def __init__(self, normalize: Callable[[str], str], split: Split) -> None:
        self._normalize, self._split = normalize, split
        self.blanks: list[str] = []

    def __missing__(self, code: int) -> str:
        normalized = self._normalize(chr(code))
        character = normalized if len(normalized) == 1 else normalized.strip()  # ideograms come between blanks
        # Combining marks are sorted where several follow one another, so they depend on their neighbours.
        if len(character) != 1 or unicodedata.combining(chr(code)) or len(self) >= _TABLE:
            raise NotOneToOneError
        words = [word for word, _ in self._split(f"a{normalized}a")]
        if words == ["a", "a"]:
            entry = " "
            # This one first: another thread that finds the code point below must find it here, too.
            self.blanks.append(chr(code))
        elif words == ["a", character, "a"]:
            entry = f" {character} "
        elif words == [f"a{character}a"] and not character.isspace():
            entry = character
        else:
            raise NotOneToOneError
        self[code] = entry
        return entry
