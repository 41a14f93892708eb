"""What a command prints beside its result: notes and progress, unless --quiet is given, and details with -v.

Warnings and errors are always printed, since they change what a result is worth.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_QUIET = "qa_onnx.quiet"  # key of the context


def _keep_quiet(ctx: click.Context, _: click.Parameter, value: Any) -> None:
    ctx.meta[_QUIET] = value
    if value:
        logging.getLogger("qa_onnx").setLevel(logging.WARNING)  # the group restores it when the command ends


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    is_eager=True,  # a bundle may be fetched while the other options are read
    expose_value=False,
    callback=_keep_quiet,
    help="Print the result, warnings and errors only: no progress, no notes.",
)


def verbose_option(help_text: str) -> Callable[[Any], Any]:
    """Return the option -v, which the command gets as `verbose`; `help_text` says what it adds."""
    return click.option("-v", "--verbose", is_flag=True, help=help_text)


def is_quiet() -> bool:
    """Tell whether the command that runs was given --quiet."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def note(text: str) -> None:
    """Print a note on stderr, unless --quiet was given."""
    if not is_quiet():
        click.echo(text, err=True)
