"""The command line. Each command's module is imported when it is called, so that --help stays quick.

May import: everything. Left out: work that a library call should do.

Exit codes: 0 success, 1 failure (explained in one line on stderr), 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qa_onnx import __version__
from qa_onnx.cli import streams
from qa_onnx.errors import LONGEST_MESSAGE, QaOnnxError, escaped, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(__file__).parents[1]

# Name -> module and function, and the line in --help.
COMMANDS = {
    "ask": ("ask:ask", "Answer questions from texts."),
    "index": ("index:index", "Make an index of documents for ask, or bring one up to date."),
    "cite": ("cite:cite", "Check whether quotes stand in documents."),
    "map": ("map_rows:map_rows", "Answer the rows of many files, on all cores or on a Ray cluster."),
    "export": ("export:export", "Make a bundle of a checkpoint or a finished ONNX model."),
    "train": ("train:train", "Fine-tune an encoder or checkpoint on questions with their answers."),
    "inspect": ("inspect:inspect", "Show what is in a bundle, and check it."),
    "pack": ("pack:pack", "Write a bundle as one file."),
    "keygen": ("sign:keygen", "Make a pair of keys to sign bundles with."),
    "sign": ("sign:sign", "Sign a bundle, so that others can tell that it is yours."),
    "verify": ("sign:verify", "Check who signed a bundle, and that no file was changed."),
    "eval": ("eval:evaluate", "Measure exact match and F1 on a data file."),
    "bench": ("bench:bench", "Measure speed and F1 on this machine, beside PyTorch."),
    "tune": ("tune:tune", "Find the fastest setting for this machine, and keep it."),
    "serve": ("serve:serve", "Answer over HTTP, with a page for people."),
    "report": ("report:report", "Show the measured accuracy of a bundle, as a table or a page with plots."),
    "diff": ("diff:diff", "Show which answers change between two bundles or precisions."),
    "doctor": ("doctor:doctor", "Test whether question answering works on this machine, and explain why not."),
    "completion": ("completion:completion", "Print a script that completes commands and options in your shell."),
}

# What other programs call them; their spelling is nearer to that of another command.
_OTHER_NAMES = {"finetune": "train", "fine-tune": "train"}


class _Commands(click.Group):
    """Group of commands that imports a command only to run it."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        work = partial(super().main, *args, standalone_mode=False, **extra)
        if not standalone_mode:
            return work()
        streams.prepare()
        sys.exit(streams.exit_code_of(work))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(f"qa_onnx.cli.{module}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            name = _OTHER_NAMES.get(args[0], args[0])
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            ctx.fail(
                f"unknown command {args[0]!r}: "
                + (f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(COMMANDS)}")
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _log_on_stderr(), _warnings_on_stderr():
                return super().invoke(ctx)
        except QaOnnxError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:  # before click prints a blank line for it
            raise click.exceptions.Exit(streams.INTERRUPTED) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qa-onnx")
def main() -> None:
    """Extractive question answering on ONNX Runtime: export a model, prove it, ask it."""


class _Escaping(logging.Formatter):
    """Formats a line of the log with escapes for what a terminal would act on."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(escaped, super().format(record).splitlines()))


@contextlib.contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Show the library's log while a command runs."""
    logger = logging.getLogger("qa_onnx")
    handler = logging.StreamHandler()
    handler.setFormatter(_Escaping())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Show each warning of the library once, in one line; leave those of other packages to Python."""
    printed = set()
    with warnings.catch_warnings():
        # Filters that make warnings errors, or silence them, are meant for programs; these are for the user.
        warnings.filterwarnings("always", category=RuntimeWarning, module=r"qa_onnx\.")
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any, **named: Any) -> None:
            if not issubclass(category, RuntimeWarning) or _PACKAGE not in Path(filename).parents:
                others(message, category, filename, *rest, **named)
            elif str(message) not in printed:
                printed.add(str(message))
                click.echo(f"warning: {shown(' '.join(str(message).split()), LONGEST_MESSAGE)}", err=True)

        warnings.showwarning = show
        yield
