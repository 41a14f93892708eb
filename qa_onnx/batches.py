"""Windows -> padded arrays, grouped by length, within a token budget.

Padding is wasted work, so windows of similar length share a batch. A batch ends when its budget is used up, or
when the next window would add more padding than another run costs. Where batches run side by side, they are made
so that all lanes end at about the same time. Left out: running them (session.py).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.errors import EngineError
from qa_onnx.session import KNOWN_INPUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from qa_onnx.windows import Window


# Budgets that `for_lanes` tries: these shares of the largest one, and of what each lane would get of few tokens.
# With a share of 0 each row is alone.
_SHARES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.0)
_SHARES_OF_A_LANE = (1.0, 0.5)


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows that run together.

    Attributes:
        windows: B windows.
        inputs: int64 (B, T) for each input name of the graph; T is the length of the longest window.
    """

    windows: tuple[Window, ...]
    inputs: dict[str, NDArray[np.int64]]

    @property
    def tokens(self) -> int:
        """Tokens that the graph computes, padding included: B x T."""
        return self.inputs["input_ids"].size


def pack(
    windows: Sequence[Window],
    *,
    batch_tokens: int,
    padding: float = math.inf,
    lanes: int = 1,
    input_names: Sequence[str],
    pad_id: int,
) -> Iterator[Batch]:
    """Put windows of similar length into batches, and pad each on the right.

    The longest windows come first; for several lanes, the batches with the largest cost.

    Args:
        windows: in any order; those of equal length keep theirs.
        batch_tokens: most tokens of a batch, B x T; a window longer than that runs alone.
        padding: most tokens of padding in a batch; for several lanes also what a run costs.
        lanes: batches that run at a time. For more than one see `for_lanes`; padding must be finite then.
        input_names: inputs that the graph declares, of `KNOWN_INPUTS`.
        pad_id: the token id to pad with.
    """
    lengths = [len(window.input_ids) for window in windows]
    groups: Iterable[list[int]]
    if lanes > 1:
        groups = for_lanes(lengths, lanes=lanes, batch_tokens=batch_tokens, overhead=padding)
    else:
        groups = by_length(lengths, batch_tokens=batch_tokens, padding=padding)
    for indices in groups:
        rows = tuple(windows[index] for index in indices)
        ids, types = [row.input_ids for row in rows], [row.token_type_ids for row in rows]
        yield Batch(rows, pad(ids, types, input_names=input_names, pad_id=pad_id))


def by_length(lengths: Sequence[int], *, batch_tokens: int, padding: float = math.inf) -> Iterator[list[int]]:
    """Divide rows into batches by length, longest first; rows of equal length keep their order.

    Args:
        lengths: of each row, in tokens.
        batch_tokens: most tokens of a batch, rows x longest row; a row longer than that is alone.
        padding: most padding of a batch, the sum of (longest row - row) in tokens.

    Yields:
        The indices of a batch's rows.
    """
    batch: list[int] = []
    longest = missing = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        short = longest - lengths[index]
        if batch and ((len(batch) + 1) * longest > batch_tokens or missing + short > padding):
            yield batch
            batch = []
        if not batch:
            longest, missing, short = lengths[index], 0, 0
        batch.append(index)
        missing += short
    if batch:
        yield batch


def for_lanes(lengths: Sequence[int], *, lanes: int, batch_tokens: int, overhead: float) -> list[list[int]]:
    """Divide rows into batches by length so that lanes end early. A lane that is free takes the next batch.

    Large batches share the cost of a run; with small ones all lanes end at about the same time. So several budgets
    are tried, and the one is chosen that is expected to be over first. A batch is taken to cost its tokens, B x T,
    and the overhead: attention, which costs more in long rows, is left out.

    Args:
        lengths: of each row, in tokens.
        lanes: batches that run at a time.
        batch_tokens: largest budget of a batch.
        overhead: of a run, in tokens; also the most padding of a batch.

    Returns:
        The indices of the rows of each batch, the batches with the largest cost first.
    """

    def cost(batch: list[int]) -> float:
        return overhead + len(batch) * lengths[batch[0]]

    def end(batches: list[list[int]]) -> float:
        ends = [0.0] * lanes
        for batch in batches:
            heapq.heapreplace(ends, ends[0] + cost(batch))
        return max(ends)

    of_a_lane = min(batch_tokens, sum(lengths) // lanes + max(lengths, default=1) - 1)
    budgets = [share * batch_tokens for share in _SHARES] + [share * of_a_lane for share in _SHARES_OF_A_LANE]
    divided = ([*by_length(lengths, batch_tokens=int(budget), padding=overhead)] for budget in budgets)
    return min((sorted(batches, key=cost, reverse=True) for batches in divided), key=end)


def check_inputs(input_names: Sequence[str]) -> None:
    """Refuse a graph with inputs that cannot be made from windows.

    Raises:
        EngineError: it declares inputs other than `KNOWN_INPUTS`, or no input_ids.
    """
    unknown = [name for name in input_names if name not in KNOWN_INPUTS]
    if unknown or "input_ids" not in input_names:
        raise EngineError(
            f"the graph's inputs are {', '.join(input_names) or 'none'}; they must be input_ids and may be "
            f"{', '.join(KNOWN_INPUTS[1:])}: export the checkpoint again with qa-onnx export"
        )


def pad(
    ids: Sequence[NDArray[np.integer]],
    types: Sequence[NDArray[np.integer]],
    *,
    input_names: Sequence[str],
    pad_id: int,
) -> dict[str, NDArray[np.int64]]:
    """Pad rows of different lengths on the right: int64 (B, T) for each input name.

    Args:
        ids: token ids of each row, the longest row first.
        types: segment ids of each row.
        input_names: of `KNOWN_INPUTS`.
        pad_id: the token id to pad with.
    """
    shape = (len(ids), len(ids[0]))
    inputs = {name: np.zeros(shape, np.int64) for name in input_names}
    inputs["input_ids"].fill(pad_id)
    for row, (row_ids, row_types) in enumerate(zip(ids, types, strict=True)):
        length = len(row_ids)
        inputs["input_ids"][row, :length] = row_ids
        if "attention_mask" in inputs:
            inputs["attention_mask"][row, :length] = 1
        if "token_type_ids" in inputs:
            inputs["token_type_ids"][row, :length] = row_types
    return inputs
