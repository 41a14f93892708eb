"""Answers on a terminal: the answer on stdout; the sentence around it and the figures on stderr."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from qa_onnx.cli import tables
from qa_onnx.cli.tables import printable

if TYPE_CHECKING:
    from rich.text import Text as RichText

    from qa_onnx import Answer
    from qa_onnx.cli.result import TextResult

_SENTENCE_END = re.compile(r"[.!?。！？]['\")\]’”»]*\s+|\n\s*\n|[。！？]")
_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs, which no encoding has
_ASCII = {"ascii", "us-ascii", "ANSI_X3.4-1968"}  # where click prints UTF-8
_WIDEST = 300  # characters of context shown on each side of the answer


def show(result: TextResult, *, several: bool, table: bool, name_question: bool) -> None:
    """Print a result: the answer alone, or a table of the n best; with several texts their names too."""
    if name_question:
        click.echo(printable(result.question), err=True)
    for note in result.prediction.warnings:
        click.echo(f"warning: {printable(note)}", err=True)
    if table and result.answers:
        _table(result, several=several)
    else:
        _print_answer(result.answer.text if result.answer else "")
    if not result.answer:
        click.echo(_why_none(result), err=True)
    elif sys.stderr.isatty():
        _sentence(result, several=several)


def _why_none(result: TextResult) -> str:
    """Explain why a question has no answer: a blank text, or a best span that passes no threshold."""
    question, answers = printable(result.question), result.prediction.answers
    if result.answer.state == "unsure":
        return (
            f"not sure of an answer to {question!r}: the probability of the best one, "
            f"{printable(result.answer.text)!r}, is {result.answer.probability:.2f}; a lower --min-probability "
            f"gives it ({result.milliseconds:.0f} ms)"
        )
    if not answers or result.null_threshold is None:
        return f"no answer to {question!r}: the text is blank"
    best = answers[0]
    short = result.prediction.null_score - best.score - result.null_threshold
    return (
        f"no answer to {question!r} in the text: the score of the best span, {printable(best.text)!r}, is "
        f"{short:.2f} below the threshold for an answer; --null-threshold off gives it "
        f"({result.milliseconds:.0f} ms)"
    )


def _sentence(result: TextResult, *, several: bool) -> None:
    answer, text = result.answers[0]
    console = tables.console(stderr=True)
    console.print(sentence_around(answer, text.content))
    name = f"{printable(text.name)}, " if several else ""
    console.print(
        f"{name}probability {answer.probability:.2f}, characters {answer.start}-{answer.end}, "
        f"{result.milliseconds:.0f} ms",
        style="dim",
    )


def sentence_around(answer: Answer, context: str) -> RichText:
    """Return the sentence or sentences around an answer, with the answer highlighted."""
    from rich.text import Text

    left, right = max(0, answer.start - _WIDEST), min(len(context), answer.end + _WIDEST)
    begin = max((end.end() for end in _SENTENCE_END.finditer(context, left, answer.start)), default=left)
    match = _SENTENCE_END.search(context, answer.end, right)
    finish = match.end() if match else right
    return Text.assemble(
        "…" if begin and begin == left else "",
        printable(context[begin : answer.start].lstrip()),
        (printable(answer.text), "bold reverse"),
        printable(context[answer.end : finish].rstrip()),
        "…" if finish == right < len(context) else "",
    )


def _table(result: TextResult, *, several: bool) -> None:
    head = ("#", "answer", "score", "probability", "characters", *(["text"] if several else []))
    rows = []
    for number, (answer, text) in enumerate(result.answers, 1):
        figures = (f"{answer.score:.2f}", f"{answer.probability:.3f}", f"{answer.start}-{answer.end}")
        names = [printable(text.name)] if several else []
        rows.append((str(number), printable(" ".join(answer.text.split())), *figures, *names))
    tables.console().print(tables.grid(head, rows, texts=(1, 5)))


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
