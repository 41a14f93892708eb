"""Bounds of what one document may cost; what is beyond them is an error that names the limit."""

from __future__ import annotations

from dataclasses import dataclass, fields

from qa_onnx.errors import InputError, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a document may cost at most. All are whole numbers above 0.

    Attributes:
        file_bytes: size of the file.
        characters: length of the text.
        pages: of a PDF.
        cells: of all tables of a document; in a CSV or TSV a blank line counts as one.
        nesting: elements inside of each other, in HTML and DOCX.
        unpacked_bytes: of the parts of a DOCX that are read, unpacked.
        seconds: for taking the text out of a PDF, DOCX, HTML or Markdown file; CSV and plain text need no clock.
        memory_bytes: address space of the process that does it (Linux and macOS; Windows has no such limit).

    Raises:
        InputError: one is not a whole number above 0.
    """

    file_bytes: int = 64 << 20
    characters: int = 50_000_000
    pages: int = 10_000
    cells: int = 1_000_000
    nesting: int = 500
    unpacked_bytes: int = 256 << 20
    seconds: int = 60
    memory_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise InputError(f"limits: {one.name} is {quoted(value)}; it must be a whole number above 0")

    def refuse(self, name: str, count: int, what: str) -> None:
        """Raise an InputError if a count is above the limit of this name."""
        most = getattr(self, name)
        if count > most:
            raise beyond(name, f"the document has more than {most:,} {what}")


def beyond(name: str, problem: str, advice: str = "split it") -> InputError:
    """Return the error of a document that is beyond the limit of this name, which the commands cannot raise."""
    return InputError(problem, remedy=f"{advice}, or in Python raise Limits({name}=...)", limit=name)
