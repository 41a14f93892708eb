"""Golden examples: texts and the logits that the graph gave at export, to check a bundle on another machine.

If token ids or logits differ by more than the precision allows, the bundle would answer differently here than
where it was evaluated: another tokenizer release, a CPU whose byte products saturate, a broken runtime.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.engines.names import PRECISIONS
from qa_onnx.errors import BundleError
from qa_onnx.options import Options
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from qa_onnx.reader import Reader

# Short windows: the file stays small, and a text still has several of them.
OPTIONS = Options(max_length=96, doc_stride=24, max_question_length=32, batch_tokens=96)


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
    try:
        content = json.loads(golden)
        examples = [Example(item["question"], item["context"]) for item in content["examples"]]
        expected = [
            (item["input_ids"], np.array([item["start_logits"], item["end_logits"]], np.float32))
            for item in content["windows"]
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise BundleError(f"the golden file of {precision} is damaged: {error!r}") from error
    rows = list(reader.logits(examples, options=OPTIONS))
    worst = 0.0 if expected and len(rows) == len(expected) else float("inf")
    for (window, start, end), (input_ids, logits) in zip(rows, expected, strict=False):
        same = window.input_ids.tolist() == input_ids and logits.shape == (2, len(input_ids))
        if same and np.isfinite((start, end, *logits)).all():
            worst = max(worst, float(np.abs(np.stack((start, end)) - logits).max()))
        else:
            worst = float("inf")
    return GoldenCheck(len(expected), worst, PRECISIONS[precision].tolerance)
