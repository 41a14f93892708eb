"""Questions -> the windows to train on, with their targets, as a few flat arrays.

Five bytes a token, so that a hundred thousand windows take less than a hundred megabytes.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.train.targets import targets
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from qa_onnx.data.squad import Gold
    from qa_onnx.options import Options
    from qa_onnx.train.tally import Tally
    from qa_onnx.train.targets import Target
    from qa_onnx.windows import Windower

_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Features:
    """F windows with their targets.

    Attributes:
        ids: int32 (N,), the token ids of all windows, one after the other.
        types: uint8 (N,), their segment ids.
        bounds: int64 (F + 1,): window f is at bounds[f] to bounds[f + 1].
        spans: int32 (F, 5): of each window the target's start and end, the first and the last token of its
            context, and its [CLS].
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    spans: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.spans)

    def rows(self, indices: Sequence[int]) -> tuple[list[NDArray[np.int32]], list[NDArray[np.uint8]]]:
        """Token ids and segment ids of some windows."""
        parts = [slice(self.bounds[index], self.bounds[index + 1]) for index in indices]
        return [self.ids[part] for part in parts], [self.types[part] for part in parts]

    def sha256(self) -> str:
        """Of all arrays, in hexadecimal: the same features are the same training."""
        digest = hashlib.sha256()
        for array in (self.ids, self.types, self.bounds, self.spans):
            digest.update(array.tobytes())
        return digest.hexdigest()


def build(
    golds: Sequence[Gold],
    windower: Windower,
    options: Options,
    *,
    tally: Tally,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Cut questions into windows and find their targets.

    Args:
        golds: the questions; those of a context are best together, since it is tokenized once then.
        windower: of the model's tokenizer.
        options: `max_length`, `doc_stride` and `max_question_length` are read.
        tally: is told what became of each question.
        seed: of the choice among windows without an answer.
        progress: is called with the number of questions done so far.

    Raises:
        InputError: the options leave a context no room.
    """
    found: list[Target] = []
    ids: list[NDArray[np.int32]] = []
    types: list[NDArray[np.uint8]] = []
    spans: list[tuple[int, int, int, int, int]] = []
    draw = random.Random(seed)
    for at in range(0, len(golds), _TOGETHER):
        part = golds[at : at + _TOGETHER]
        cut = windower.cut([Example(gold.question, gold.context, gold.id) for gold in part], options)
        for gold, example in zip(part, cut, strict=True):
            found, kinds = targets(gold, example.windows, draw)
            for kind in kinds:
                tally.add(kind, gold.id)
            for target in found:
                window = target.window
                ids.append(window.input_ids.astype(np.int32))
                types.append(window.token_type_ids.astype(np.uint8))
                spans.append((target.start, target.end, window.first, window.last, window.cls))
        if progress is not None:
            progress(at + len(part))
    lengths = [0, *(len(row) for row in ids)]
    return Features(
        ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
        types=np.concatenate(types) if types else np.zeros(0, np.uint8),
        bounds=np.cumsum(lengths, dtype=np.int64),
        spans=np.array(spans, np.int32).reshape(-1, 5),
    )
