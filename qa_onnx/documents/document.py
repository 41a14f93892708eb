"""A document: a text, the name of the file that it comes from, and where in the file each part of it stands.

Pages are separated by a newline and a form feed. The form feed marks the page, as in the output of pdftotext and
in plain text for printers. Some tokenizers delete it; then the newline keeps the two words apart.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

PAGE_END = "\f"
PAGE_BREAK = "\n" + PAGE_END


@dataclass(frozen=True, slots=True)
class Origin:
    """Runs of a text that were taken from known places of a source; what lies between them was added.

    Attributes:
        starts: first character of each run in the text, ascending.
        ends: end of each run in the text; runs do not overlap.
        sources: first character of each run in the source; in a table, the number of the row, from 1.
        lengths: characters of each run in the source; in a table, the number of the column, from 1.
    """

    starts: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    sources: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))

    def add(self, start: int, end: int, source: int, length: int) -> None:
        """Add a run behind all others."""
        self.starts.append(start)
        self.ends.append(end)
        self.sources.append(source)
        self.lengths.append(length)

    def runs(self, start: int, end: int) -> range:
        """Return the indices of the runs that share characters with `start` to `end`."""
        return range(bisect_right(self.ends, start), bisect_left(self.starts, end))


@dataclass(frozen=True, slots=True)
class Document:
    """A text and what it is called.

    Attributes:
        name: of the file, as the user gave it or found in a folder that the user gave.
        text: what is asked; its pages are separated by `PAGE_BREAK`.
        kind: of the file: "text", "markdown", "html", "pdf", "docx", "csv" or "tsv".
        origin: where the text stands in the source; None: unknown.
    """

    name: str
    text: str
    kind: str = "text"
    origin: Origin | None = field(default=None, compare=False, repr=False)

    @property
    def pages(self) -> int:
        """The number of pages; 1 where the file has none."""
        return self.text.count(PAGE_END) + 1

    def page(self, start: int) -> int:
        """Return the page of a character of the text, from 1."""
        return self.text.count(PAGE_END, 0, start) + 1

    def source_range(self, start: int, end: int) -> tuple[int, int] | None:
        """Return where a part of the text stands in the decoded source.

        The range goes from the first character of the part that was in the source to the last one, with any markup
        between them. A byte order mark does not count.

        Args:
            start: index of its first character in the text.
            end: index after its last character.

        Returns:
            Start and end in characters of the source; None: the kind of file has no such places (HTML, PDF, DOCX,
            tables), or the part was not in the source.
        """
        if self.origin is None or self.kind in {"csv", "tsv"}:
            return None
        origin, runs = self.origin, self.origin.runs(start, end)
        if start >= end or not runs:
            return None
        first, last = runs[0], runs[-1]
        low, high = origin.sources[first], origin.sources[last] + origin.lengths[last]
        if self._verbatim(first):
            low += max(0, start - origin.starts[first])
        if self._verbatim(last):
            high -= max(0, origin.ends[last] - end)
        return low, high

    def cell(self, start: int, end: int) -> tuple[int, int] | None:
        """Return row and column, from 1, of the first cell of a table that a part of the text touches.

        The header is row 1. None: the document is no CSV or TSV, or the part is none of its cells' text.
        """
        if self.origin is None or self.kind not in {"csv", "tsv"}:
            return None
        runs = self.origin.runs(start, end)
        return (self.origin.sources[runs[0]], self.origin.lengths[runs[0]]) if start < end and runs else None

    def _verbatim(self, run: int) -> bool:
        assert self.origin is not None
        return self.origin.lengths[run] == self.origin.ends[run] - self.origin.starts[run]
