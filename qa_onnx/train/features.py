"""Questions -> the windows to train on with their targets, as a few flat arrays.

Five bytes per token: a hundred thousand windows take less than a hundred megabytes.
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
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qa_onnx.data.squad import Gold
    from qa_onnx.options import Options
    from qa_onnx.train.tally import Tally
    from qa_onnx.windows import Windower

_BLOCK = 256  # questions that are tokenized together


@dataclass(frozen=True, slots=True)
class Features:
    """F windows with their targets.

    Attributes:
        ids: int32 (N,), the token ids of all windows, concatenated.
        types: uint8 (N,), their segment ids.
        bounds: int64 (F + 1,): window f is bounds[f] to bounds[f + 1] of them.
        spans: int32 (F, 5): for each window start and end of the target, first and last token of the context, and
            [CLS].
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    spans: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.spans)

    def rows(self, indices: Sequence[int]) -> tuple[list[NDArray[np.int32]], list[NDArray[np.uint8]]]:
        """Return the token ids and the segment ids of some windows."""
        parts = [slice(self.bounds[index], self.bounds[index + 1]) for index in indices]
        return [self.ids[part] for part in parts], [self.types[part] for part in parts]

    def sha256(self) -> str:
        """Return the SHA-256 of all arrays, in hexadecimal."""
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
) -> Features:
    """Cut questions into windows and find their targets.

    Args:
        golds: the questions; a context is tokenized once if its questions are neighbours.
        windower: of the model's tokenizer.
        options: `max_length`, `doc_stride` and `max_question_length` are read.
        tally: counts what becomes of each question.
        seed: of the choice among windows without an answer.

    Raises:
        InputError: the options leave a context no room.
    """
    ids: list[NDArray[np.int32]] = []
    types: list[NDArray[np.uint8]] = []
    spans: list[tuple[int, int, int, int, int]] = []
    draw = random.Random(seed)
    for at in range(0, len(golds), _BLOCK):
        block = golds[at : at + _BLOCK]
        cut = windower.cut([Example(gold.question, gold.context, gold.id) for gold in block], options)
        for gold, example in zip(block, cut, strict=True):
            chosen, kinds = targets(gold, example.windows, draw)
            for kind in kinds:
                tally.add(kind, gold.id)
            for target in chosen:
                window = target.window
                ids.append(window.input_ids.astype(np.int32))
                types.append(window.token_type_ids.astype(np.uint8))
                spans.append((target.start, target.end, window.first, window.last, window.cls))
    return Features(
        ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
        types=np.concatenate(types) if types else np.zeros(0, np.uint8),
        bounds=np.cumsum([0, *map(len, ids)], dtype=np.int64),
        spans=np.array(spans, np.int32).reshape(-1, 5),
    )
