"""Quote and what stands in a text -> which changes make them equal, or that none do.

Left out: what the changes are (folding.py), and where to look (quotes.py).
"""

from __future__ import annotations

from qa_onnx.documents.folding import (
    CASE,
    CHANGES,
    COMPATIBILITY,
    COMPOSITION,
    HYPHENATION,
    TYPOGRAPHY,
    WHITE_SPACE,
    fold,
    has_hyphenation,
)

# A change is left out, in this order, where quote and text are equal without it. "composition" comes before
# "compatibility", which may do its work too.
_LEAVE_OUT = (CASE, TYPOGRAPHY, COMPOSITION, COMPATIBILITY, HYPHENATION, WHITE_SPACE)
_MOST_REMEMBERED = 1_000


class QuoteComparison:
    """A quote to which pieces of a text are compared.

    Attributes:
        quote: the quote.
        needles: the quote after all changes; two where a hyphen at a line end may belong to the word or not.
    """

    def __init__(self, quote: str) -> None:
        self.quote = quote
        self._hyphens = has_hyphenation(quote)
        self._remembered: dict[tuple[str, bool], tuple[str, ...] | None] = {}
        self.needles = sorted(_forms(quote, frozenset(CHANGES), hyphens=self._hyphens))

    def changes(self, text: str, *, widened: bool) -> tuple[str, ...] | None:
        """Return the changes that quote and text need to be equal, in the order of `CHANGES`.

        Args:
            text: a piece of a text.
            widened: the quote has to be in the text only, since the text holds whole ligatures.

        Returns:
            No change where they are equal as they are; None where they are not equal after all changes either.
        """
        key = (text, widened)
        if key not in self._remembered:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = self._changes(text, widened=widened)
        return self._remembered[key]

    def _changes(self, text: str, *, widened: bool) -> tuple[str, ...] | None:
        hyphens = has_hyphenation(text)

        def are_equal(changes: frozenset[str]) -> bool:
            ours = _forms(self.quote, changes, hyphens=self._hyphens)
            theirs = _forms(text, changes, hyphens=hyphens)
            if widened:
                return any(our in their for our in ours for their in theirs)
            return not ours.isdisjoint(theirs)

        if not are_equal(frozenset(CHANGES)):
            return None
        needed = frozenset(CHANGES)
        for change in _LEAVE_OUT:
            if are_equal(needed - {change}):
                needed -= {change}
        return tuple(change for change in CHANGES if change in needed)


def _forms(text: str, changes: frozenset[str], *, hyphens: bool) -> set[str]:
    """Return a text after some changes; two forms where a hyphen at a line end may belong to the word or not."""
    both = (False, True) if hyphens and HYPHENATION in changes else (False,)
    forms = {fold(text, changes, keep_hyphens=keep) for keep in both}
    return {form.strip() for form in forms} if WHITE_SPACE in changes else forms
