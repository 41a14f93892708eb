"""The least and the greatest value of every option: one table for the library, the server and the command line.

Left out: options of a training run (train/settings.py), and what a request may ask of a server (serve/schemas.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from qa_onnx.errors import QaOnnxError


class Bounds(NamedTuple):
    """The least and the greatest value of an option: integers where both are integers, else numbers."""

    low: float
    high: float


_TOKENS = 1 << 20

BOUNDS = {
    # Options
    "max_length": Bounds(8, _TOKENS),
    "doc_stride": Bounds(0, _TOKENS),
    "max_question_length": Bounds(1, _TOKENS),
    "max_answer_length": Bounds(1, _TOKENS),
    "n_best": Bounds(1, 10_000),
    "batch_tokens": Bounds(1, 1 << 30),
    # Reader.load
    "threads": Bounds(1, 1024),
    # AsyncReader
    "max_batch_tokens": Bounds(1, 1 << 30),
    "max_wait_ms": Bounds(0.0, 60_000.0),
    "max_queue": Bounds(1, 1_000_000),
    "workers": Bounds(1, 256),  # threads
    "in_flight": Bounds(1, 1_000_000),
    # the server
    "processes": Bounds(1, 64),  # its --workers
    "max_request_bytes": Bounds(1024, 1 << 30),
    "timeout_s": Bounds(0.001, 86_400.0),
    "read_timeout_s": Bounds(0.001, 86_400.0),
}


def check_bounds(name: str, value: object, error: type[QaOnnxError] = InputError) -> None:
    """Refuse a value of an option that is out of its bounds, or no number.

    Args:
        name: of the option, a key of `BOUNDS`.
        value: to check.
        error: class of the error.

    Raises:
        QaOnnxError: the value is refused, by an error of the class `error`.
    """
    low, high = BOUNDS[name]
    whole = isinstance(low, int)
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not number or math.isnan(value) or not low <= value <= high:  # type: ignore[arg-type,operator]
        raise error(
            f"{name} is {value!r}; it must be {'an integer' if whole else 'a number'} from {low} to {high}"
        )
