"""Every error that qa-onnx raises on purpose.

    QaOnnxError
    ├── InputError          a question, context, option or data file is not usable (also a ValueError)
    ├── MissingExtraError   a package is not installed; the message holds the pip line (also an ImportError)
    ├── BundleError         the folder is not a bundle, or it is damaged
    │   └── BundleFormatError   it was written by a newer release
    ├── EngineError         the graph cannot run here, or returned logits that are not numbers
    │   └── DeviceError         the requested device cannot be used here: driver, libraries, GPU
    ├── QueueFullError      more questions wait than an AsyncReader takes; it says when to try again
    ├── DeadlineError       no answer within timeout_s (also a TimeoutError)
    ├── ClosedError         the Reader or AsyncReader was closed before it came to this question
    ├── ServerError         a server refused a client's request, failed, or could not be reached
    ├── MapError            a map job cannot start, go on or be written
    ├── TrainError          a training run cannot start, continue or be written
    └── ExportError         the checkpoint cannot become a bundle
        ├── ParityError     the ONNX graph does not answer as PyTorch does
        └── GateError       a precision does not reach the required accuracy

A message says what is wrong, where, the limit and the remedy, on one line of at most 500 characters. What it takes
from input (texts, names of files, values) goes through `shown` or `quoted`.
"""

from __future__ import annotations

import re
import reprlib
import sys
import warnings

LONGEST_MESSAGE = 500  # characters
_BITS = 128  # of the largest integer that is written out: Python refuses to write very large ones
_JOINERS = "\u200c\u200d"  # parts of words and emoji, which change nothing but their neighbours
_BLANKS = "\u00a0\u3000"
_INSIDE = re.compile(r"qa_onnx\.(?!cli\.)")  # names of modules


def shown(text: str, limit: int = 80) -> str:
    r"""Return a text on one line that is safe to print: with escapes for what a terminal would act on.

    Control characters, line ends, characters that change the direction of text and halves of surrogate pairs
    become \x1b, \n, \u202e and the like. The middle of a long text is replaced by "...".

    Args:
        text: any text.
        limit: characters of the result at most.
    """
    if len(text) > 2 * limit:
        text = f"{text[:limit]}{text[-limit:]}"
    line = escaped(text)
    if len(line) <= limit:
        return line
    end = (limit - 3) // 3
    return f"{line[: limit - 3 - end]}...{line[len(line) - end :]}"


def escaped(text: str) -> str:
    """Return a text of any length with escapes as in `shown`."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in _JOINERS + _BLANKS else char.encode("unicode_escape").decode()
        for char in text
    )


def number_of(things: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, in the singular or plural; the plural of most ends in s."""
    return f"{things:,} {noun if things == 1 else plural or f'{noun}s'}"


def quoted(value: object, limit: int = 80) -> str:
    """Return a value as Python writes it, on one line, in at most `limit` characters; it never raises.

    Only the beginning of large values is read.
    """
    try:
        text = _Short(limit).repr(value)
    except Exception:  # noqa: BLE001  # of a __repr__ or __len__ of the caller's
        text = f"<{type(value).__name__}>"
    return shown(text, limit)


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside of qa_onnx that called it; one of a command counts as outside."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and _INSIDE.match(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


class _Short(reprlib.Repr):
    """reprlib's Repr for texts up to a length, and for integers of any size."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = limit

    def repr_int(self, x: int, level: int) -> str:
        """Return a small integer, and the size of a large one."""
        return super().repr_int(x, level) if x.bit_length() <= _BITS else f"<int of {x.bit_length():,} bits>"


class QaOnnxError(Exception):
    """Base of every error below; catch this one to catch them all.

    The message is one line of at most `LONGEST_MESSAGE` characters; of a longer one the middle is left out.

    Attributes:
        problem: what is wrong, and where.
        remedy: what to do about it; empty where the problem implies it.
    """

    def __init__(self, problem: str = "", *, remedy: str = "") -> None:
        joint = ": " if remedy else ""
        room = LONGEST_MESSAGE - len(joint)
        problem, remedy = (str(text).replace("\n", " ") for text in (problem, remedy))
        self.remedy = shown(remedy, max(room // 2, room - len(problem)))
        self.problem = shown(problem, room - len(self.remedy))
        super().__init__(f"{self.problem}{joint}{self.remedy}")


class InputError(QaOnnxError, ValueError):
    """A question, context, option or data file is not usable.

    Attributes:
        limit: the field of `documents.Limits` that a document is beyond; empty: it is something else.
    """

    def __init__(self, problem: str = "", *, remedy: str = "", limit: str = "") -> None:
        super().__init__(problem, remedy=remedy)
        self.limit = limit


def with_name(name: str, error: QaOnnxError) -> InputError:
    """Return an error with a file's name before its problem, unless the problem has the name."""
    problem = error.problem if shown(name) in error.problem else f"{shown(name)}: {error.problem}"
    limit = error.limit if isinstance(error, InputError) else ""
    return InputError(problem, remedy=error.remedy, limit=limit)


class MissingExtraError(QaOnnxError, ImportError):
    """A package that this call needs is not installed."""


class BundleError(QaOnnxError):
    """A folder is not a bundle, or a file of it is missing, truncated or changed."""


class BundleFormatError(BundleError):
    """The bundle has a format that this release does not read."""


class EngineError(QaOnnxError):
    """A graph cannot run on this machine, or returned logits that are not numbers."""


class DeviceError(EngineError):
    """The requested device cannot be used on this machine as it is."""


class QueueFullError(QaOnnxError):
    """More questions wait than an `AsyncReader` takes.

    Attributes:
        retry_after_s: estimated seconds until the questions that wait now are answered, or their time is over.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(QaOnnxError, TimeoutError):
    """A question was not answered within its `timeout_s`."""


class ClosedError(QaOnnxError):
    """A `Reader` or `AsyncReader` is closed: it takes no more questions, or dropped those that waited."""


class ServerError(QaOnnxError):
    """A server of `qa-onnx serve` refused a request of a client, failed, or could not be reached.

    Attributes:
        status: of HTTP; None: there was no reply.
        detail: what the server says is wrong, or why it cannot be reached.
        request_id: under which the server's log has more; "" where there is none.
        retry_after_s: seconds after which it may be tried again, if the server says so.
        errors: the wrong fields, each with its JSON pointer and what is wrong with it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        detail: str = "",
        request_id: str = "",
        errors: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.detail, self.request_id = status, detail, request_id
        self.retry_after_s: float | None = None
        self.errors = errors


class MapError(QaOnnxError):
    """A map job cannot start, go on or be written."""


class TrainError(QaOnnxError):
    """A training run cannot start, continue or be written."""


class ExportError(QaOnnxError):
    """A checkpoint or ONNX model cannot become a bundle."""


class ParityError(ExportError):
    """The exported graph's logits differ too much from PyTorch's."""


class GateError(ExportError):
    """A precision does not reach the required share of float32's F1."""
