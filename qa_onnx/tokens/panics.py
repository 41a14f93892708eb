"""Errors and panics of the tokenizers library -> errors of qa-onnx.

The library raises bare `Exception`. Where its Rust code panics, pyo3 raises a `PanicException`, which is no
`Exception`: it would pass through every handler of a program and end its thread.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from qa_onnx.errors import BundleError, QaOnnxError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 200  # characters of a message of the library


@contextmanager
def library_errors(problem: str) -> Iterator[None]:
    """Turn what the tokenizers library raises into a `BundleError`; errors of qa-onnx pass.

    Args:
        problem: begins the message, such as "the tokenizer cannot encode these texts".

    Raises:
        BundleError: the library raised an exception, or panicked.
    """
    try:
        yield
    except QaOnnxError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise  # KeyboardInterrupt and its like
        reason = str(error)
        raise BundleError(f"{problem}: {reason[:_SHOWN]}{'...' * (len(reason) > _SHOWN)}") from error
