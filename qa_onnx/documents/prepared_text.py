"""Text -> the same text, ready to be searched for many quotes.

Left out: the search (quotes.py, nearest.py).
"""

from __future__ import annotations

from functools import cached_property

from qa_onnx.documents.folding import FoldedText, has_hyphenation
from qa_onnx.documents.word_index import WordIndex
from qa_onnx.errors import InputError

LONGEST_TEXT = 50_000_000  # characters


class PreparedText:
    """A text that many quotes are looked for in: what all of them need is computed once, at the first.

    It takes the memory of the text again, and `nearest_passage` some 30 bytes for each word more. Threads may
    share it.

    Attributes:
        text: the text.
    """

    def __init__(self, text: str) -> None:
        """Take a text.

        Raises:
            InputError: it is no str, or has more than `LONGEST_TEXT` characters.
        """
        if not isinstance(text, str):
            raise InputError(f"the text is of type {type(text).__name__}: give a str")
        if len(text) > LONGEST_TEXT:
            raise InputError(
                f"a text of {len(text):,} characters is searched for quotes, at most {LONGEST_TEXT:,} are",
                remedy="search its chapters one by one",
            )
        self.text = text

    @cached_property
    def folded(self) -> tuple[FoldedText, ...]:
        """The text after all changes: without hyphens at line ends and, where it has any, with them."""
        kept = [FoldedText(self.text, keep_hyphens=True)] if has_hyphenation(self.text) else []
        return (FoldedText(self.text), *kept)

    @cached_property
    def words(self) -> WordIndex:
        """The words of the text after all changes, for nearest.py."""
        return WordIndex(self.folded[0].folded)
