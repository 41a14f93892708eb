"""Answers on a terminal: the answer on stdout; the sentence around it and the figures on stderr."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from qa_onnx.cli import tables
from qa_onnx.cli.tables import printable
from qa_onnx.documents.evidence import evidence
from qa_onnx.errors import number_of

if TYPE_CHECKING:
    from rich.text import Text as RichText

    from qa_onnx import Answer
    from qa_onnx.cli.result import TextResult
    from qa_onnx.documents.document import Document

_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs, which no encoding has
_ASCII = {"ascii", "us-ascii", "ANSI_X3.4-1968"}  # where click prints UTF-8
_WIDEST = 300  # characters of the sentence shown on each side of the answer


def show(result: TextResult, *, several: bool, table: bool, name_question: bool) -> None:
    """Print a result: the answer, all of them, or a table of the n best; with several texts their names too."""
    if name_question:
        click.echo(printable(result.question), err=True)
    for note in result.prediction.warnings:
        click.echo(f"warning: {printable(note)}", err=True)
    explained = several or sys.stderr.isatty()  # an answer of several documents says nothing without its place
    shown = result.answers if result.every else result.answers[: 1 if result.answer else 0]
    if table and result.answers:
        _table(result, several=several)
    for answer, document in shown:
        if not table:
            _print_answer(answer.text)
        if explained and not (table and result.every):
            _sentence(answer, document, several=several, effort="" if result.every else f", {_effort(result)}")
    if result.answer and result.every and explained:
        tables.console(stderr=True).print(_effort(result), style="dim")
    if not result.answer:
        if not (table and result.answers):
            _print_answer("")
        click.echo(_why_none(result), err=True)


def _why_none(result: TextResult) -> str:
    """Explain why a question has no answer: a blank text, or a best span that passes no threshold."""
    question, answers = printable(result.question), result.prediction.answers
    if result.answer.state == "unsure":
        return (
            f"not sure of an answer to {question!r}: the probability of the best one, "
            f"{printable(result.answer.text)!r}, is {result.answer.probability:.2f}; a lower --min-probability "
            f"gives it ({result.milliseconds:.0f} ms)"
        )
    where = "the text" if result.documents == 1 else f"{result.documents:,} documents"
    if result.every:
        return f"no answer to {question!r} in {where} ({result.milliseconds:.0f} ms)"
    if not answers or result.null_threshold is None:
        return f"no answer to {question!r}: {'the text is' if result.documents == 1 else 'all texts are'} blank"
    best = next((answer for answer in answers if any(map(str.isalnum, answer.text))), answers[0])
    short = result.prediction.null_score - best.score - result.null_threshold
    rescue = "; --null-threshold off gives it" if best is answers[0] else ""
    kind = "best span" if best is answers[0] else "best span with a letter or digit"
    return (
        f"no answer to {question!r} in {where}: the score of the {kind}, {printable(best.text)!r}, is "
        f"{short:.2f} below the threshold for an answer{rescue} ({result.milliseconds:.0f} ms)"
    )


def _sentence(answer: Answer, document: Document, *, several: bool, effort: str) -> None:
    console = tables.console(stderr=True)
    console.print(sentence_around(answer, document.text))
    place = _place(answer, document, several=several)
    console.print(f"{place}, probability {answer.probability:.2f}{effort}", style="dim")


def _effort(result: TextResult) -> str:
    """Return how many answers there are, how much was read for them, and how long it took."""
    parts = [number_of(len(result.answers), "answer")] if result.every else []
    if result.reading is not None:
        parts.append(f"read {result.reading.read:,} of {result.reading.passages:,} passages")
    return ", ".join([*parts, f"{result.milliseconds:.0f} ms"])


def _place(answer: Answer, document: Document, *, several: bool) -> str:
    """Return where an answer stands: document, page, line, and which of several equal places it is."""
    found = evidence(document.text, answer.start, answer.end)
    parts = [printable(document.name)] if several else []
    if document.pages > 1:
        parts.append(f"page {found.page}")
    elif "\n" in document.text:
        parts.append(f"line {found.line}")
    parts.append(f"characters {answer.start}-{answer.end}")
    if found.occurrences is not None and found.occurrences > 1:
        parts.append(f"place {found.occurrence} of {found.occurrences} with this text")
    return ", ".join(parts)


def sentence_around(answer: Answer, context: str) -> RichText:
    """Return the sentence or sentences around an answer, with the answer highlighted."""
    from rich.text import Text

    sentence = evidence(context, answer.start, answer.end).sentence
    begin, finish = max(sentence.start, answer.start - _WIDEST), min(sentence.end, answer.end + _WIDEST)
    return Text.assemble(
        "…" if begin > sentence.start else "",
        printable(context[begin : answer.start].lstrip()),
        (printable(answer.text), "bold reverse"),
        printable(context[answer.end : finish].rstrip()),
        "…" if finish < sentence.end else "",
    )


def _table(result: TextResult, *, several: bool) -> None:
    paged = any(document.pages > 1 for _, document in result.answers)
    head = ("#", "answer", "score", "probability", "characters", *(["page"] if paged else []))
    rows = []
    for number, (answer, document) in enumerate(result.answers, 1):
        figures = (f"{answer.score:.2f}", f"{answer.probability:.3f}", f"{answer.start}-{answer.end}")
        pages = [str(document.page(answer.start))] if paged else []
        names = [printable(document.name)] if several else []
        rows.append((str(number), printable(" ".join(answer.text.split())), *figures, *pages, *names))
    names = ["document"] if several else []
    tables.console().print(tables.grid((*head, *names), rows, texts=(1, len(head)) if several else (1,)))


def _print_answer(text: str) -> None:
    """Print an answer on one line: with escapes on a terminal, as it is in the text to a file or pipe.

    Raises:
        ClickException: the encoding of the file or pipe lacks one of its characters.
    """
    line = " ".join(text.split())
    if sys.stdout.isatty():
        click.echo(printable(line))
        return
    line = _HALVES.sub("\ufffd", line)
    encoding = "utf-8" if sys.stdout.encoding in _ASCII else sys.stdout.encoding
    try:
        line.encode(encoding)
    except UnicodeEncodeError as error:
        raise click.ClickException(
            f"the answer has {error.object[error.start]!a}, which standard output in {encoding} lacks: "
            "set PYTHONIOENCODING=utf-8, or use --json"
        ) from error
    click.echo(line)
