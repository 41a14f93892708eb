"""Batches in a session, one after the other or side by side -> logits, until `stop` or Ctrl-C ends the runs.

Left out: making batches (batches.py), and what runs side by side (lanes.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qa_onnx.engines.interruptible import interruptible
from qa_onnx.session import is_endable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.session import Arrays, LaneSession, Session, Stop

    Inputs = Mapping[str, NDArray[np.int64]]


def run_in_lanes(session: LaneSession, batches: Sequence[Inputs], stop: Stop | None) -> Iterator[Arrays]:
    """Run batches side by side; yield their logits in order.

    Args:
        session: has lanes for so many windows.
        batches: int64 (B, T) under each name of an input.
        stop: ends the runs that go on, and all later ones; None: Ctrl-C does.

    Raises:
        EngineError: the graph failed.
    """
    if stop is not None:
        return session.run_each(batches, stop=stop)
    return iter(interruptible(lambda own: list(session.run_each(batches, stop=own))))


def runner(session: Session, stop: Stop | None) -> Callable[[Inputs], Arrays]:
    """Return what runs a batch until `stop` is requested, or for None until Ctrl-C.

    Where the session is no `EndableSession`, a run can only be waited for.
    """
    if not is_endable(session):
        return session.run
    if stop is not None:
        return partial(session.run, stop=stop)
    return lambda inputs: interruptible(lambda own: session.run(inputs, stop=own))
