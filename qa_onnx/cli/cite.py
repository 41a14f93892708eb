"""`qa-onnx cite`: whether quotes stand in documents, word for word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import click

from qa_onnx.cli import sources
from qa_onnx.cli.output import to_json
from qa_onnx.cli.tables import printable
from qa_onnx.documents.evidence import evidence
from qa_onnx.documents.nearest import NearPassage, nearest_passage
from qa_onnx.documents.prepared_text import PreparedText
from qa_onnx.documents.quotes import QuoteMatch, Verdict, find_quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.documents import Document

_RANKS = get_args(Verdict)  # best first
_CLOSE = 0.5  # similarity from which a passage is shown as what may be meant


@dataclass(frozen=True, slots=True)
class _Checked:
    """A quote, and the best match of all documents, or else the passage that comes closest."""

    quote: str
    match: QuoteMatch | None
    near: NearPassage | None
    document: Document | None

    def to_dict(self) -> dict[str, Any]:
        place = self.match or self.near
        where = evidence(self.document.text, place.start, place.end).to_dict() if place and self.document else None
        return {
            "quote": self.quote,
            "verdict": self.match.verdict if self.match else "not found",
            "match": self.match.to_dict() if self.match else None,
            "nearest": self.near.to_dict() if self.near else None,
            "document": self.document.name if self.document else None,
            "evidence": where,
        }


@click.command
@click.argument("quotes", metavar="QUOTES", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("paths", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each quote.")
def cite(*, quotes: str, paths: tuple[str, ...], as_json: bool) -> None:
    """Check whether quotes stand in documents.

    \b
    qa-onnx cite quotes.txt report.pdf notes/

    QUOTES is a text file with a quote a line; - is stdin. SOURCE is a file, a folder or a pattern: plain text,
    Markdown, HTML, PDF, Word (DOCX), CSV and TSV. A quote stands there exactly, or after changes that are named
    (white space, hyphens at line ends, ligatures, composed letters, typographic marks, case), or not at all.

    Exit code 1 if a quote was not found.
    """
    [listed] = sources.read_files([quotes])
    wanted = [line.strip() for line in listed.text.splitlines() if line.strip()]
    documents = list(sources.read_found(paths))
    prepared = [PreparedText(document.text) for document in documents]
    missing = 0
    for quote in wanted:
        checked = _check(quote, documents, prepared)
        missing += checked.match is None
        click.echo(to_json(checked.to_dict()) if as_json else _line(checked))
    click.echo(f"{len(wanted) - missing:,} of {len(wanted):,} quotes found", err=True)
    if missing:
        raise click.exceptions.Exit(1)


def _check(quote: str, documents: Sequence[Document], prepared: Sequence[PreparedText]) -> _Checked:
    pairs = list(zip(documents, prepared, strict=True))
    matches = [(match, document) for document, text in pairs if (match := find_quote(quote, text))]
    if matches:
        match, document = min(matches, key=lambda item: _RANKS.index(item[0].verdict))
        return _Checked(quote, match, None, document)
    near = [(passage, document) for document, text in pairs if (passage := nearest_passage(quote, text))]
    if not near:
        return _Checked(quote, None, None, None)
    passage, document = max(near, key=lambda item: item[0].similarity)
    return _Checked(quote, None, passage, document)


def _line(checked: _Checked) -> str:
    """Return a quote and what became of it, in two lines."""
    quote = printable(" ".join(checked.quote.split()))
    if checked.match and checked.document:
        found = evidence(checked.document.text, checked.match.start, checked.match.end)
        changes = f" ({', '.join(checked.match.changes)})" if checked.match.changes else ""
        where = f"page {found.page}, line {found.line}" if found.page > 1 else f"line {found.line}"
        return (
            f"{checked.match.verdict:10}  {quote}\n            {printable(checked.document.name)}, {where}, "
            f"characters {checked.match.start}-{checked.match.end}{changes}"
        )
    if checked.near and checked.document and checked.near.similarity >= _CLOSE:
        passage = printable(" ".join(checked.near.text.split()))
        return (
            f"not found   {quote}\n            closest in {printable(checked.document.name)}, characters "
            f"{checked.near.start}-{checked.near.end}: {passage}"
        )
    return f"not found   {quote}"
