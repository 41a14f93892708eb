"""The standard streams of a command, and how it ends: one line on stderr and an exit code, whatever happened.

    0  success          1  failure, also of a stream
    2  wrong usage    130  Ctrl-C

A stream that is closed at the start gets the null device in its place: otherwise the next file that is opened has
its number, and what libraries print goes into that file. Writing to a closed stdout is an error, as for `cat`.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.errors import LONGEST_MESSAGE, shown

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def prepare() -> None:
    """Fill in closed streams, and make sure that text can be printed in any encoding.

    stdin stays None where it is closed, so that what reads it can tell.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR), number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_OF_STREAMS = (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EFBIG, errno.EDQUOT)


def exit_code_of(work: Callable[[], Any]) -> int:
    """Run a command, show its error if it has one, and return its exit code."""
    try:
        code = _exit_code_of(work)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError as error:  # of a stream: most others have become errors of the package
        code = 1
        if error.errno != errno.EPIPE:  # the reader of a pipe has seen enough
            with suppress(OSError):
                of_stream = error.filename is None and error.errno in _OF_STREAMS
                where = "cannot write to standard output: " if of_stream else ""
                _show(click.ClickException(f"{where}{(of_stream and error.strerror) or error}"))
        _discard()
    return code


def _exit_code_of(work: Callable[[], Any]) -> int:
    try:
        code = work()
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except MemoryError:
        _show(click.ClickException("out of memory"))
        return 1
    return code if isinstance(code, int) else 0


def _show(error: click.ClickException) -> None:
    """Print an error: one line of at most 500 characters, after the usage where that was wrong."""
    message = shown(error.format_message(), LONGEST_MESSAGE)
    if isinstance(error, click.UsageError):
        click.UsageError(message, error.ctx).show()
    else:
        click.ClickException(message).show()


def _discard() -> None:
    """Send what is left in the buffers of broken streams to the null device, or Python complains at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(null, number)
    os.close(null)
