"""Golden examples: texts and the logits that the graph gave at export, to check a bundle on another machine.

If token ids or logits differ by more than the precision allows, the bundle would answer differently here than
where it was evaluated: another tokenizer release, a CPU whose byte products saturate, a broken runtime.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from qa_onnx.engines.names import PRECISIONS
from qa_onnx.errors import BundleError
from qa_onnx.options import Options
from qa_onnx.windows import Example  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qa_onnx.reader import Reader

# Short windows: the file stays small, and a text still has several of them.
OPTIONS = Options(max_length=96, doc_stride=24, max_question_length=32, batch_tokens=96)

_AT_MOST = Meta(max_length=OPTIONS.max_length)  # of each list of a window
_LARGEST_FILE = 1 << 20  # characters; that of the default bundle has 10,000
_MOST_CHARACTERS = 20_000  # of the examples, which are run; those of an export have 1,500


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """Difference between the logits on this machine and those at export.

    Attributes:
        windows: number of windows compared.
        max_abs: largest absolute difference of a logit; infinite if the token ids differ, a logit is not a
            number, or there is nothing to compare.
        tolerance: largest difference that the precision allows.
    """

    windows: int
    max_abs: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference stays within the tolerance."""
        return self.max_abs <= self.tolerance

    def __str__(self) -> str:
        """The result in words."""
        if self.max_abs == float("inf"):
            return "other tokens than at export, or logits that are not numbers"
        answers = "answers as at export" if self.passed else "answers otherwise than at export"
        return f"{answers} (largest difference of a logit {self.max_abs:.2g}, limit {self.tolerance:g})"


def record(reader: Reader, examples: tuple[Example, ...]) -> str:
    """Run the examples and return the text of a golden file."""
    windows = [
        {
            "example": window.example,
            "input_ids": window.input_ids.tolist(),
            "start_logits": [round(float(value), 5) for value in start],
            "end_logits": [round(float(value), 5) for value in end],
        }
        for window, start, end in reader.logits(examples, options=OPTIONS)
    ]
    texts = [{"question": example.question, "context": example.context} for example in examples]
    return json.dumps({"examples": texts, "windows": windows}, ensure_ascii=False)


def check(reader: Reader, golden: str, precision: str) -> GoldenCheck:
    """Run the examples of a golden file again and compare the logits.

    Args:
        reader: runs the precision that the file belongs to.
        golden: the file's text.
        precision: selects the tolerance.

    Raises:
        BundleError: the golden file is damaged.
    """
    examples, expected = _read(golden, f"the golden file of {precision}")
    rows = list(reader.logits(examples, options=OPTIONS))
    worst = 0.0 if expected and len(rows) == len(expected) else float("inf")
    for (window, start, end), (input_ids, logits) in zip(rows, expected, strict=False):
        same = window.input_ids.tolist() == input_ids and logits.shape == (2, len(input_ids))
        if same and np.isfinite((start, end, *logits)).all():
            worst = max(worst, float(np.abs(np.stack((start, end)) - logits).max()))
        else:
            worst = float("inf")
    return GoldenCheck(len(expected), worst, PRECISIONS[precision].tolerance)


class _Window(Struct):
    """The token ids of a window, and its logits at export."""

    input_ids: Annotated[list[int], _AT_MOST]
    start_logits: Annotated[list[float], _AT_MOST]
    end_logits: Annotated[list[float], _AT_MOST]


class _Golden(Struct):
    """The content of a golden file."""

    examples: list[Example]
    windows: list[_Window]


def _read(golden: str, name: str) -> tuple[list[Example], list[tuple[list[int], NDArray[np.float32]]]]:
    """Return the examples of a golden file, and the token ids and logits, float32 (2, T), of their windows."""
    if len(golden) > _LARGEST_FILE:
        raise BundleError(f"{name} is damaged: it has {len(golden)} characters; the limit is {_LARGEST_FILE}")
    try:
        content = msgspec.convert(json.loads(golden), _Golden)
        expected = [
            (one.input_ids, np.array((one.start_logits, one.end_logits), np.float32)) for one in content.windows
        ]
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(f"{name} is damaged: {error!s:.120}") from error
    characters = sum(len(example.question) + len(example.context) for example in content.examples)
    if characters > _MOST_CHARACTERS:
        problem = f"{name} is damaged: its examples have {characters} characters"
        raise BundleError(f"{problem}; the limit is {_MOST_CHARACTERS}")
    return content.examples, expected
