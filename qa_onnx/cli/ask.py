"""`qa-onnx ask`: questions and texts -> answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.cli import batch, screen
from qa_onnx.cli.options import ReaderSettings, reader_options
from qa_onnx.data.file_kinds import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qa_onnx import Answer, Options, Prediction, Reader


@dataclass(frozen=True, slots=True)
class Text:
    """A text to find answers in, and what to call it."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class TextResult:
    """One question asked of all texts.

    Attributes:
        question: as asked.
        answer: the best one, and its text; falsy when there is none.
        answers: the n best over all texts, each with its text.
        prediction: as for one text; with several, null score and probability are their minimum.
        milliseconds: that it took.
        null_threshold: that the answer had to pass; None: the best span is always the answer.
    """

    question: str
    answer: Answer
    answers: tuple[tuple[Answer, Text], ...]
    prediction: Prediction
    milliseconds: float
    null_threshold: float | None


# Further words are taken as well, to tell who types them what to type.
@click.command(short_help="Answer questions from texts.", context_settings={"allow_extra_args": True})
@click.option("-q", "--question", "questions", multiple=True, help="A question; give as many as you like.")
@click.option(
    "-c",
    "--context-file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="A text file (UTF-8); - is stdin. With several, the best answer over all of them is given.",
)
@click.option("--context", "texts", multiple=True, metavar="TEXT", help="A text itself.")
@click.option("-i", "--interactive", is_flag=True, help="Ask for questions until the end of input.")
@click.option(
    "--input",
    "input_path",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help='JSON lines, {"id"?, "question", "context"} each.',
)
@click.option("--output", "output_path", type=click.Path(dir_okay=False), help="Where answers to --input go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each question.")
@reader_options
@click.pass_context
def ask(
    ctx: click.Context,
    *,
    settings: ReaderSettings,
    questions: tuple[str, ...],
    files: tuple[str, ...],
    texts: tuple[str, ...],
    interactive: bool,
    input_path: str | None,
    output_path: str | None,
    as_json: bool,
) -> None:
    """Answer questions from texts.

    \b
    qa-onnx ask -q "Who designed the tower?" -c article.txt
    qa-onnx ask -i -c article.txt
    qa-onnx ask --input pairs.jsonl --output answers.jsonl

    The answer goes to stdout, everything else to stderr.
    """
    _check_usage(ctx.args, texts)
    if input_path is not None:
        if questions or files or texts or interactive:
            raise click.UsageError(
                "--input brings its own questions and contexts: leave out -q, -c, --context and -i"
            )
        reader, options = settings.load()
        failed = batch.run(reader, options, input_path, output_path)
        if failed:
            raise click.ClickException(f"{failed} {'lines' if failed > 1 else 'line'} could not be answered")
        return
    if output_path is not None:
        raise click.UsageError("--output goes with --input; to keep single answers redirect stdout")
    if not (files or texts):
        raise click.UsageError("nothing to read: give a text with -c FILE, -c - (stdin) or --context TEXT")
    if interactive == bool(questions):
        raise click.UsageError("give questions with -q, or -i to be asked for them")
    if interactive and "-" in files:
        raise click.UsageError("-i reads questions from stdin, so the text must come from a file or --context")
    sources = [_read(name) for name in files]
    sources += [Text(f"context {number}", text) for number, text in enumerate(texts, 1)]
    reader, options = settings.load()
    several, table = len(sources) > 1, settings.n_best is not None
    for question in _prompted() if interactive else questions:
        result = _ask(reader, options, question, sources)
        if as_json:
            click.echo(json.dumps(_record(result, several=several)))
        else:
            screen.show(result, several=several, table=table, name_question=len(questions) > 1)


def _check_usage(words: Sequence[str], texts: Sequence[str]) -> None:
    """Refuse words without an option, and names of files given as texts, with what to type instead."""
    if words:
        raise click.UsageError(_with_options(words))
    for text in texts:
        if _is_file(text):
            raise click.UsageError(
                f"--context takes a text itself, and {text} is the name of a file: -c {shlex.quote(text)} reads it"
            )


def _with_options(words: Sequence[str]) -> str:
    """What to type instead of words without an option."""
    files = [word for word in words if _is_file(word)]
    questions = [word for word in words if word not in files]
    form = [part for word in questions or ["QUESTION"] for part in ("-q", word)]
    form += [part for word in files or ["FILE"] for part in ("-c", word)]
    return f"a question comes after -q and a file after -c: {shlex.join(['qa-onnx', 'ask', *form])}"


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # too long for a name, or with a character that no name has
        return False


def _read(name: str) -> Text:
    data = batch.stdin().read() if name == "-" else Path(name).read_bytes()
    text = Text("stdin" if name == "-" else name, decode(data, "FILE" if name == "-" else name))
    zeros = text.content.count("\0")
    if zeros:
        click.echo(
            f"warning: {screen.printable(text.name)} has {zeros:,} NUL character{'s' * (zeros > 1)}, which "
            "no text has: is it part of a binary file?",
            err=True,
        )
    return text


def _prompted() -> Iterator[str]:
    while True:
        try:
            question = click.prompt("question", default="", show_default=False, err=True)
        except click.Abort:
            click.echo(err=True)
            return
        if question.strip():
            yield question


def _ask(reader: Reader, options: Options, question: str, texts: Sequence[Text]) -> TextResult:
    from qa_onnx import Example

    started = time.perf_counter()
    predictions = reader.predict([Example(question, text.content) for text in texts], options=options)
    ranked = [
        (answer, text)
        for prediction, text in zip(predictions, texts, strict=True)
        for answer in prediction.answers
    ]
    ranked.sort(key=lambda item: -item[0].score)  # stable: of equal ones the earlier text's
    ranked = ranked[: options.n_best]
    merged = replace(
        predictions[0],
        answers=tuple(answer for answer, _ in ranked),
        null_score=min(prediction.null_score for prediction in predictions),
        null_probability=min(prediction.null_probability for prediction in predictions),
        warnings=tuple(dict.fromkeys(note for prediction in predictions for note in prediction.warnings)),
    )
    answer = reader.choose(merged, options=options)
    milliseconds = 1000 * (time.perf_counter() - started)
    threshold = reader.null_threshold if options.null_threshold == "bundle" else options.null_threshold
    return TextResult(question, answer, tuple(ranked), merged, milliseconds, threshold)


def _record(result: TextResult, *, several: bool) -> dict[str, Any]:
    answers = [answer.to_dict() | ({"file": text.name} if several else {}) for answer, text in result.answers]
    return {
        "question": result.question,
        **batch.record(result.prediction, result.answer),
        "answers": answers,
        "answer": answers[0] if result.answer else None,
        "milliseconds": round(result.milliseconds, 3),
    }
