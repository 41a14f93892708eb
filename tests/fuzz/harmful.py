"""A target that does each thing that the fuzzer must find; only for its tests. An input is the name of a harm."""

from __future__ import annotations

import ctypes
import os
from itertools import repeat
from typing import TYPE_CHECKING

from qa_onnx import InputError
from tests.fuzz.targets import Target, expect

if TYPE_CHECKING:
    from random import Random


class PanicError(BaseException):
    """As those of libraries in Rust: not an Exception."""


def keep(_: Random, data: bytes) -> bytes:
    """Return an input as it is."""
    return data


def spin() -> None:
    """Never end, always in the same line, so that the place of the finding is the same each time."""
    all(repeat(True))


HARMS = {
    "none": lambda: None,
    "refusal": lambda: fail(InputError("it is refused")),
    "error": lambda: fail(KeyError("x")),
    "panic": lambda: fail(PanicError("x")),
    "promise": lambda: expect("it is so", kept=False),
    "length": lambda: fail(raw("x" * 600)),
    "escape": lambda: fail(raw("\x1b[31m")),
    "crash": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "memory": lambda: bytearray(1 << 40),
    "loop": spin,
}


def raw(message: str) -> InputError:
    """Return an error whose message was not made fit to be shown."""
    error = InputError()
    error.args = (message,)
    return error


def fail(error: BaseException) -> None:
    """Raise an error."""
    raise error


class Harmful(Target):
    """See the module."""

    changes = (keep,)
    accepts_seeds = False

    def set_up(self) -> None:
        """See `Target`."""
        self.seeds = [name.encode() for name in HARMS]

    def run(self, data: bytes) -> None:
        """Do what the input says."""
        HARMS[data.decode()]()
