"""A document: a text, and the name of the file that it comes from.

Pages end with a form feed, as in the output of pdftotext and in plain text for printers, so one rule tells the
page of an answer, whatever the document was.
"""

from __future__ import annotations

from dataclasses import dataclass

PAGE_END = "\f"


@dataclass(frozen=True, slots=True)
class Document:
    """A text and what it is called.

    Attributes:
        name: of the file, as the user gave it or found in a folder that the user gave.
        text: what is asked; its pages are separated by form feeds.
    """

    name: str
    text: str
