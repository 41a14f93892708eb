"""`qa-onnx cite`: whether quotes stand in documents, word for word, and whether documents support claims."""

from __future__ import annotations

import functools
from dataclasses import astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import click

from qa_onnx.cli import sources
from qa_onnx.cli.options import CHANGES, ExistingPath, ReaderSettings, between, reader_options
from qa_onnx.cli.output import to_json
from qa_onnx.cli.tables import printable
from qa_onnx.documents.evidence import evidence
from qa_onnx.documents.listed_quotes import find_listed_quote, without_marks
from qa_onnx.documents.nearest import NearPassage, nearest_passage
from qa_onnx.documents.prepared_text import PreparedText
from qa_onnx.documents.quotes import QuoteMatch, Verdict, find_quote
from qa_onnx.documents.sentences import sentences
from qa_onnx.retrieval.support_parts import agrees

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from qa_onnx import Reader
    from qa_onnx.documents import Document
    from qa_onnx.retrieval.index import PassageIndex
    from qa_onnx.retrieval.support import Support

    _Model: TypeAlias = Callable[[str], Support]

_RANKS = get_args(Verdict)  # best first
_CLOSE = 0.5  # similarity from which a passage is shown as what may be meant


_READ = 4  # passages
_NOT_OF_CLAIMS = ("n_best", "null_threshold", *CHANGES)


@dataclass(frozen=True, slots=True)
class _Checked:
    """A quote, and its best match in all documents, or else the closest passage and what the model says."""

    quote: str
    match: QuoteMatch | None
    near: NearPassage | None
    document: Document | None
    support: Support | None = None
    answer_in: Document | None = None  # the document of the model's answer

    @property
    def verdict(self) -> str:
        if self.match:
            return self.match.verdict
        return self.support.verdict if self.support else "not found"

    @property
    def is_found(self) -> bool:
        return self.verdict not in {"differs", "not found"}

    def to_dict(self, *, with_support: bool) -> dict[str, Any]:
        place = self.match or self.near
        where = evidence(self.document.text, place.start, place.end).to_dict() if place and self.document else None
        result = {
            "quote": self.quote,
            "verdict": self.verdict,
            "match": self.match.to_dict() if self.match else None,
            "nearest": self.near.to_dict() if self.near else None,
            "document": self.document.name if self.document else None,
            "evidence": where,
        }
        if with_support:
            result["support"] = self._support()
        return result

    def _support(self) -> dict[str, Any] | None:
        if self.support is None:
            return None
        answer, document = self.support.answer, self.answer_in
        where = evidence(document.text, answer.start, answer.end).to_dict() if answer and document else None
        return self.support.to_dict() | {"evidence": where}


@click.command
@click.argument("quotes", metavar="QUOTES", type=ExistingPath(exists=True, dir_okay=False, allow_dash=True))
@click.argument("paths", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each quote.")
@click.option(
    "--claims", is_flag=True, help="Ask the model whether the sources support what is not found in them."
)
@click.option(
    "--read",
    type=between("read"),
    metavar="N",
    help=f"Passages that the model reads for a claim, the best ones first.  [default: {_READ}]",
)
@partial(reader_options, without=_NOT_OF_CLAIMS)
def cite(
    *,
    settings: ReaderSettings,
    quotes: str,
    paths: tuple[str, ...],
    as_json: bool,
    claims: bool,
    read: int | None,
) -> None:
    """Check whether quotes stand in documents, or documents support claims.

    \b
    qa-onnx cite quotes.txt report.pdf notes/
    qa-onnx cite --claims summary.txt report.pdf

    QUOTES is a text file with a quote a line; - is stdin. SOURCE is a file, a folder or a pattern: plain text,
    Markdown, HTML, PDF, Word (DOCX), CSV and TSV. A quote stands there exactly, or after changes that are named
    (white space, hyphens at line ends, ligatures, composed letters, typographic marks, case), or not at all. The
    quotation marks around it, and the mark or number of a list before it, are left out where it needs that.

    With --claims each sentence is an English statement. One that does not stand there is supported, or the source
    differs from it, or it is not found: the model's view, which is sometimes wrong.

    Exit code 1 if a quote was not found, or a claim neither found nor supported.
    """
    if not claims and (read is not None or any(astuple(settings))):
        raise click.UsageError(
            "--read and the options of the model need --claims: quotes are found without a model"
        )
    [listed] = sources.read_files([quotes])
    lines = [line.strip() for line in listed.text.splitlines() if line.strip()]
    wanted = [part for line in lines for part in _statements(line)] if claims else lines
    documents = list(sources.read_found(paths))
    prepared = [PreparedText(document.text) for document in documents]
    model = _model(settings, documents, _READ if read is None else read) if claims else None
    missing = 0
    for quote in wanted:
        checked = _check(quote, documents, prepared, model)
        missing += not checked.is_found
        click.echo(to_json(checked.to_dict(with_support=claims)) if as_json else _line(checked))
    what = "claims found or supported" if claims else "quotes found"
    click.echo(f"{len(wanted) - missing:,} of {len(wanted):,} {what}", err=True)
    if missing:
        raise click.exceptions.Exit(1)


def _model(settings: ReaderSettings, documents: Sequence[Document], read: int) -> _Model:
    """Return what asks the model about a claim; the model is loaded for the first one."""
    from qa_onnx.retrieval.index import PassageIndex
    from qa_onnx.retrieval.support import support

    @functools.cache
    def loaded() -> tuple[Reader, PassageIndex]:
        return settings.load()[0], PassageIndex.of(documents)

    def check(claim: str) -> Support:
        reader, index = loaded()
        return support(reader, claim, index, read=read)

    return check


def _statements(line: str) -> list[str]:
    """Return the sentences of a line; a line of one sentence is left as it is."""
    content = without_marks(line)
    parts = [content[start:end] for start, end in sentences(content)]
    return parts if len(parts) > 1 else [line]


def _check(
    quote: str, documents: Sequence[Document], prepared: Sequence[PreparedText], model: _Model | None
) -> _Checked:
    pairs = list(zip(documents, prepared, strict=True))
    for find in (find_quote, find_listed_quote):  # as it is first, in all documents
        matches = [(match, document) for document, text in pairs if (match := find(quote, text))]
        if matches:
            match, document = min(matches, key=lambda item: _RANKS.index(item[0].verdict))
            return _Checked(quote, match, None, document)
    bare = without_marks(quote)
    near = [(passage, document) for document, text in pairs if (passage := nearest_passage(bare, text))]
    passage, closest = max(near, key=lambda item: item[0].similarity) if near else (None, None)
    view = model(bare) if model else None
    answer = view.answer if view else None
    answer_in = next((one for one in documents if answer and one.name == answer.document), None)
    return _Checked(quote, None, passage, closest, view, answer_in)


def _line(checked: _Checked) -> str:
    """Return a quote and what became of it, in two or three lines."""
    quote = printable(" ".join(checked.quote.split()))
    if checked.match and checked.document:
        changes = f" ({', '.join(checked.match.changes)})" if checked.match.changes else ""
        where = _where(checked.document, checked.match.start, checked.match.end)
        return f"{checked.match.verdict:10}  {quote}\n            {where}{changes}"
    if checked.support and checked.support.answer and checked.answer_in:
        answer, document = checked.support.answer, checked.answer_in
        sentence = evidence(document.text, answer.start, answer.end).sentence.text
        said = f"{printable(' '.join(answer.text.split()))}, not {printable(answer.part.text)}: "
        if agrees(answer.part, answer.text):
            said = 'only one of the two has a "not": '
        return (
            f"{checked.verdict:10}  {quote}\n            {_where(document, answer.start, answer.end)} "
            f"(score {answer.score:.2f})\n            {said if checked.verdict == 'differs' else ''}"
            f"{printable(' '.join(sentence.split()))}"
        )
    if checked.near and checked.document and checked.near.similarity >= _CLOSE:
        passage = printable(" ".join(checked.near.text.split()))
        where = _where(checked.document, checked.near.start, checked.near.end)
        return f"not found   {quote}\n            closest in {where}: {passage}"
    return f"not found   {quote}"


def _where(document: Document, start: int, end: int) -> str:
    """Return document, page, line and characters of a place."""
    found = evidence(document.text, start, end)
    line = f"page {found.page}, line {found.line}" if document.pages > 1 else f"line {found.line}"
    return f"{printable(document.name)}, {line}, characters {start}-{end}"
