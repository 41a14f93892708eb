"""`qa-onnx ask`: questions and texts -> answers on stdout; everything else goes to stderr."""

from __future__ import annotations

import glob
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qa_onnx.cli import batch, screen, sources
from qa_onnx.cli.options import DataPath, ReaderSettings, between, reader_options
from qa_onnx.cli.output import to_json
from qa_onnx.cli.result import answer
from qa_onnx.cli.sources import is_file
from qa_onnx.documents import Document
from qa_onnx.documents.finding import is_index
from qa_onnx.errors import number_of, shown
from qa_onnx.machine.files import did_you_mean
from qa_onnx.retrieval.index import PassageIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_READ = 50  # passages


# Words without an option are accepted, to explain the right form in the error.
@click.command(context_settings={"allow_extra_args": True})
@click.option("-q", "--question", "questions", multiple=True, help="A question; repeat it for more.")
@click.option(
    "-c",
    "--context-file",
    "files",
    multiple=True,
    metavar="PATH",
    help="A document: text, Markdown, HTML, PDF, Word (DOCX), CSV; - is stdin. Or a folder or a pattern, of whose "
    "documents the best passages are read. Repeat it to get the best answer over several.",
)
@click.option(
    "--index", "index_path", type=click.Path(path_type=Path), help="An index of documents, from qa-onnx index."
)
@click.option(
    "--read",
    type=between("read"),
    metavar="N",
    help=f"Passages that are read of a folder, a pattern or an index, the best ones first.  [default: {_READ}]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Begin to read no more passages that are expected to end later; the first ones are read in any case.  "
    "[default: no limit]",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Print every answer, one a line, for questions that have several. Each passage of some hundred words is "
    "read by itself, and answers of less than 0.1, or --min-probability, are left out.",
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
    index_path: Path | None,
    read: int | None,
    seconds: float | None,
    every: bool,
    interactive: bool,
    input_path: str | None,
    output_path: str | None,
    as_json: bool,
) -> None:
    """Answer questions from texts.

    \b
    qa-onnx ask -q "Who designed the tower?" -c article.txt
    qa-onnx ask -q "When is the rent due?" -c contracts/
    qa-onnx ask -i -c article.txt
    qa-onnx ask --input pairs.jsonl --output answers.jsonl

    The answer goes to stdout, everything else to stderr.
    """
    if ctx.args:
        raise click.UsageError(_with_options(ctx.args))
    for text in filter(is_file, texts):
        raise click.UsageError(
            f"--context takes a text itself, and {text} is the name of a file: -c {shlex.quote(text)} reads it"
        )
    if input_path is not None:
        if questions or files or texts or interactive or index_path or read or seconds or every:
            raise click.UsageError(
                "--input has its own questions and contexts: leave out -q, -c, --context, --index, --read, "
                "--seconds, --all and -i"
            )
        batch.check(input_path, output_path)
        reader, options = settings.load()
        failed = batch.run(reader, options, input_path, output_path)
        if failed:
            raise click.ClickException(f"{number_of(failed, 'question')} could not be answered")
        return
    if output_path is not None:
        raise click.UsageError("--output needs --input; to keep single answers redirect stdout")
    if interactive == bool(questions):
        raise click.UsageError("give questions with -q, or -i to be asked for them")
    if interactive and "-" in files:
        raise click.UsageError("-i reads questions from stdin, so the text must come from a file or --context")
    documents = _documents(files, texts, index_path, search=read is not None or seconds is not None)
    several = isinstance(documents, PassageIndex) or len(documents) > 1
    if isinstance(documents, PassageIndex) and read is None:
        read = _READ
    reader, options = settings.load()
    for question in _prompted() if interactive else questions:
        result = answer(reader, options, question, documents, read=read, seconds=seconds, every=every)
        if as_json:
            click.echo(to_json(result.to_dict(several=several)))
        else:
            table = settings.n_best is not None
            screen.show(result, several=several, table=table, name_question=len(questions) > 1)


def _documents(
    files: Sequence[str], texts: Sequence[str], index_path: Path | None, *, search: bool
) -> list[Document] | PassageIndex:
    """Return the documents that the user names: a list to read all of, or an index to search."""
    if not (files or texts or index_path):
        raise click.UsageError(
            "nothing to read: give a text with -c FILE, -c - (stdin), --context TEXT or --index INDEX"
        )
    if index_path is not None and (files or texts):
        raise click.UsageError("--index has its own documents: leave out -c and --context")
    if index_path is None and not search and all(name == "-" or is_file(name) for name in files):
        return sources.read_files(files) + [
            Document(f"context {number}", text) for number, text in enumerate(texts, 1)
        ]
    for name in files:
        if not (name == "-" or os.path.lexists(name) or glob.has_magic(name)):
            instead = did_you_mean(name) or "give a file, a folder or a pattern"
            raise click.UsageError(f"{shown(name)} does not exist: {instead}")
        if is_index(name):
            raise click.UsageError(f"{shown(name)} is an index: ask it with --index, or name its documents")
    if texts or "-" in files:
        raise click.UsageError(
            "a folder, a pattern, --read and --seconds take neither --context nor -c -: write a file"
        )
    index = PassageIndex.of(sources.read_found(files)) if index_path is None else PassageIndex.open(index_path)
    if not len(index):
        raise click.ClickException("there is no text in these documents")
    return index


def _with_options(words: Sequence[str]) -> str:
    """Return the error for words without an option: the command with options."""
    files = [word for word in words if is_file(word)]
    questions = [word for word in words if word not in files]
    form = [part for word in questions or ["QUESTION"] for part in ("-q", word)]
    form += [part for word in files or ["FILE"] for part in ("-c", word)]
    return f"a question comes after -q and a file after -c: {shlex.join(['qa-onnx', 'ask', *form])}"


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
