"""The tokens of a text and their places in it, from whichever tokenizer made them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from qa_onnx.tokens.special_tokens import Ids


class Tokens:
    """The tokens of a text, without special tokens. Places are computed when they are first asked for.

    Args:
        ids: int32 (N,), token ids.
        offsets: computes `offsets`; of many texts, such as questions, it is never called.
        opens: computes `opens`.
    """

    def __init__(
        self,
        ids: NDArray[np.int32],
        *,
        offsets: Callable[[], NDArray[np.int32]],
        opens: Callable[[], NDArray[np.bool_]],
    ) -> None:
        self.ids = ids
        self._offsets = offsets
        self._opens = opens

    @classmethod
    def joined(cls, parts: Sequence[tuple[int, Tokens]]) -> Tokens:
        """Return the tokens of a text from those of its parts, each with the index of its first character."""
        return cls(
            np.concatenate([np.empty(0, np.int32), *(part.ids for _, part in parts)]),
            offsets=lambda: np.concatenate(
                [np.empty((0, 2), np.int32), *(part._offsets() + np.int32(start) for start, part in parts)]
            ),
            opens=lambda: np.concatenate([np.empty(0, np.bool_), *(part._opens() for _, part in parts)]),
        )

    def computed(self) -> Tokens:
        """Return the same with its places computed, so that what they come from can be freed."""
        offsets, opens = self.offsets, self.opens
        return Tokens(self.ids, offsets=lambda: offsets, opens=lambda: opens)

    @cached_property
    def offsets(self) -> NDArray[np.int32]:
        """The characters of each token, half-open: int32 (N, 2)."""
        return self._offsets()

    @cached_property
    def opens(self) -> NDArray[np.bool_]:
        """Whether a word begins with each token, as the tokenizer splits text into words: bool (N,)."""
        return self._opens()


@dataclass(frozen=True, slots=True)
class EncodedContext:
    """A context and its tokens, shared by all of its windows and all questions about it.

    Attributes:
        text: the context.
        ids: int64 (N,), the token ids without special tokens.
        tokens: the tokens with their places.
        blocks: index of the first token of each paragraph, list item or table cell but the first, ascending.
    """

    text: str
    ids: Ids
    tokens: Tokens
    blocks: tuple[int, ...] = ()

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """Return the characters, half-open, of the tokens `first` to `last`, inclusive."""
        offsets = self.tokens.offsets
        return int(offsets[first, 0]), int(offsets[last, 1])

    def words(self, first: int, last: int) -> tuple[int, int]:
        """Widen the tokens `first` to `last`, inclusive, to whole words; return the first and the last token.

        A word is what the tokenizer splits text into before it splits words into tokens.
        """
        opens = self.tokens.opens
        while first and not opens[first]:
            first -= 1
        while last + 1 < len(opens) and not opens[last + 1]:
            last += 1
        return first, last
