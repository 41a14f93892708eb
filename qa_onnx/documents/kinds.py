"""A file's bytes and name -> what kind of document it is: by content where that is certain, else by the ending.

Left out: kinds that no converter reads, which data/file_kinds.py names in an error.
"""

from __future__ import annotations

from pathlib import PurePath

from qa_onnx.data.file_kinds import refuse_other_kinds
from qa_onnx.documents.docx import MAIN
from qa_onnx.errors import InputError

ENDINGS = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".csv": "csv",
    ".tsv": "tsv",
}
KINDS = "plain text, Markdown, HTML, PDF, DOCX, CSV and TSV are read"
_HEAD = 1024  # bytes in which "%PDF-" must stand, as readers of PDF have it
_SAMPLE = 1 << 16
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r\f\v\x1b")
_MOST_CONTROLS = 0.05  # share of the bytes of text
_HTML = (b"<!doctype html", b"<html")


def kind_of_document(data: bytes, name: str) -> str:
    """Return the kind of a document, one of the values of `ENDINGS`.

    Args:
        data: the whole file.
        name: its name, of which the ending counts.

    Raises:
        InputError: it is of none of these kinds.
    """
    ending = PurePath(name).suffix.lower()
    kind = ENDINGS.get(ending)
    is_text = kind in {"text", "markdown", "html", "csv", "tsv"}
    if data.startswith(b"%PDF-") or (not is_text and b"%PDF-" in data[:_HEAD]):
        return "pdf"
    if data.startswith(b"PK\x03\x04") and (MAIN.encode() in data):
        return "docx"
    refuse_other_kinds(data, name)
    if kind in {"pdf", "docx"}:
        raise InputError(f"its content is not that of a {ending} file", remedy="fetch it again, or rename it")
    sample = data[:_SAMPLE]
    if sum(map(sample.count, (bytes([byte]) for byte in _CONTROLS))) > _MOST_CONTROLS * len(sample):
        raise InputError("it is no text, and of no kind that is known", remedy=KINDS)
    if kind is None and data.removeprefix(b"\xef\xbb\xbf").lstrip()[:14].lower().startswith(_HTML):
        return "html"
    return "text" if kind is None else kind
