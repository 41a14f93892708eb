"""`qa-onnx ask`: questions and texts -> answers on stdout; everything else goes to stderr."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qa_onnx.cli import batch, screen
from qa_onnx.cli.options import DataPath, ReaderSettings, reader_options
from qa_onnx.cli.output import to_json
from qa_onnx.cli.result import Text, ask_texts
from qa_onnx.data.file_kinds import decode
from qa_onnx.errors import shown
from qa_onnx.machine.files import open_file, open_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_LONGEST_TEXT = 64 << 20  # bytes


# Words without an option are accepted, to explain the right form in the error.
@click.command(context_settings={"allow_extra_args": True})
@click.option("-q", "--question", "questions", multiple=True, help="A question; repeat it for more.")
@click.option(
    "-c",
    "--context-file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="A text file (UTF-8); - is stdin. Repeat it to get the best answer over several texts.",
)
@click.option("--context", "texts", multiple=True, metavar="TEXT", help="A text itself, not a file.")
@click.option("-i", "--interactive", is_flag=True, help="Ask for questions until the end of input.")
@click.option(
    "--input",
    "input_path",
    type=DataPath(exists=True, dir_okay=False, allow_dash=True),
    help='JSON lines, {"id"?, "question", "context"} each, or any other form that eval reads, answers left out.',
)
@click.option(
    "--output",
    "output_path",
    type=click.Path(dir_okay=False),
    help="File for the answers to --input.  [default: stdout]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each question.")
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
    if ctx.args:
        raise click.UsageError(_with_options(ctx.args))
    for text in filter(_is_file, texts):
        raise click.UsageError(
            f"--context takes a text itself, and {text} is the name of a file: -c {shlex.quote(text)} reads it"
        )
    if input_path is not None:
        if questions or files or texts or interactive:
            raise click.UsageError(
                "--input has its own questions and contexts: leave out -q, -c, --context and -i"
            )
        batch.check(input_path, output_path)
        reader, options = settings.load()
        failed = batch.run(reader, options, input_path, output_path)
        if failed:
            raise click.ClickException(f"{failed} question{'s' * (failed > 1)} could not be answered")
        return
    if output_path is not None:
        raise click.UsageError("--output needs --input; to keep single answers redirect stdout")
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
        result = ask_texts(reader, options, question, sources)
        if as_json:
            click.echo(to_json(result.to_dict(several=several)))
        else:
            screen.show(result, several=several, table=table, name_question=len(questions) > 1)


def _with_options(words: Sequence[str]) -> str:
    """Return the error for words without an option: the command with options."""
    files = [word for word in words if _is_file(word)]
    questions = [word for word in words if word not in files]
    form = [part for word in questions or ["QUESTION"] for part in ("-q", word)]
    form += [part for word in files or ["FILE"] for part in ("-c", word)]
    return f"a question comes after -q and a file after -c: {shlex.join(['qa-onnx', 'ask', *form])}"


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # too long for a file name, or with an invalid character
        return False


def _read(name: str) -> Text:
    if name == "-":
        source = open_stream(batch.stdin(), "standard input", limit=_LONGEST_TEXT)
    else:
        source = open_file(name, limit=_LONGEST_TEXT)
    with source:
        data = source.read()
    text = Text("stdin" if name == "-" else name, decode(data, "FILE" if name == "-" else name))
    zeros = text.content.count("\0")
    if zeros:
        click.echo(
            f"warning: {shown(text.name)} has {zeros:,} NUL character{'s' * (zeros > 1)}, which "
            "no text has: is it part of a binary file?",
            err=True,
        )
    return text


def _prompted() -> Iterator[str]:
    batch.stdin()  # an error where it is closed
    while True:
        try:
            question = click.prompt("question", default="", show_default=False, err=True)
        except click.Abort as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise
            click.echo(err=True)
            return
        except UnicodeDecodeError as error:
            raise click.ClickException(
                f"the question is not {error.encoding} text: set PYTHONIOENCODING"
            ) from error
        if question.strip():
            yield question
