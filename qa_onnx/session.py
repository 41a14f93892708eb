"""Arrays -> logits: the interface between a `Reader` and the engine that runs its graph.

A run may go on for ever: a graph can have loops that depend on the text. `Stop` ends one from another thread.

Left out: the engines themselves, and the choice between them (engines/). A fake one is in testing.py.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeGuard

import numpy as np

from qa_onnx.errors import ClosedError, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]

# Inputs that a graph may declare. It gets exactly those, and any other name is an error: with a silently missing
# segment id, a model seems to work on short texts and fails on long ones.
KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ["start_logits", "end_logits"]
# See `Session.run_overhead`. On two cores with AVX2, a run of MiniLM in ONNX Runtime costs as much as 4 (int8) to
# 16 (fp32) tokens, plus time proportional to its tokens, in any number of rows. On an H200 the overhead is 700
# tokens in fp32 and 3,000 or more in fp16, estimated from the speeds of batches of 1,024, 4,096 and 16,384 tokens.
RUN_OVERHEAD: dict[str, int] = {"cpu": 16, "cuda": 1024}


class Session(Protocol):
    """Interface of a graph that is ready to run. Any number of threads may call `run` at once."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that the graph declares, of `KNOWN_INPUTS`."""

    @property
    def run_overhead(self) -> int:
        """Fixed cost of a run, in tokens: more padding than this costs more than another run."""

    @property
    def leaves_cpu_idle(self) -> bool:
        """Whether the host's cores are idle during a run, as with a GPU, and can prepare the next one."""

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Arrays:
        """Compute the logits of a batch.

        Args:
            inputs: int64 (B, T) for each of `input_names`.

        Returns:
            start_logits and end_logits, float32 (B, T) each.
        """


class EndableSession(Session, Protocol):
    """A session whose runs can be ended. Those of the engines are; one without it can only be waited for."""

    def run(self, inputs: Mapping[str, NDArray[np.int64]], *, stop: Stop | None = None) -> Arrays:
        """Compute the logits of a batch; see `Session.run`.

        Args:
            inputs: int64 (B, T) for each of `input_names`.
            stop: ends the run when it is requested, as soon as the engine reacts; an EngineError is raised then.
        """

    def renew(self) -> None:
        """Open the graph again for all later runs. One that does not end keeps what it was opened with."""


class LaneSession(EndableSession, Protocol):
    """A session that also runs many batches side by side, each on one core, which is faster than on all in turn.

    Attributes:
        lanes: batches that run at a time.
        enough_windows: from how many windows on it is.
        lane_tokens: largest budget of a batch that runs on one core, as `Options.batch_tokens`.
    """

    lanes: int
    enough_windows: int
    lane_tokens: int

    def run_each(
        self, batches: Sequence[Mapping[str, NDArray[np.int64]]], *, stop: Stop | None = None
    ) -> Iterator[Arrays]:
        """Yield the logits of each batch, in the order of the batches; they are those of `run`, up to rounding.

        Args:
            batches: the inputs of each, see `Session.run`.
            stop: ends the runs that go on when it is requested, and those that have not begun.
        """


def has_lanes(session: Session, windows: int) -> TypeGuard[LaneSession]:
    """Return whether a session is a `LaneSession`, and so many windows are enough for it."""
    return windows >= enough_windows(session)


def enough_windows(session: Session) -> float:
    """Return from how many windows on a session runs them side by side; infinite: it never does."""
    return float(getattr(session, "enough_windows", math.inf))


def is_endable(session: Session) -> TypeGuard[EndableSession]:
    """Return whether a session is an `EndableSession`: it has `renew`."""
    return hasattr(session, "renew")  # isinstance would look at every member, 40 us in Python 3.11


class ClosedSession:
    """The session of a reader that was closed: it runs nothing.

    Args:
        closed: the session before, which this one does not keep.
    """

    def __init__(self, closed: Session) -> None:
        self.input_names, self.run_overhead, self.leaves_cpu_idle = closed.input_names, closed.run_overhead, False

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Arrays:
        """Refuse to run.

        Raises:
            ClosedError: always.
        """
        raise ClosedError("this reader was closed", remedy="load another one, or close it after its last question")


class Stop:
    """A request, from another thread, to end runs.

    Attributes:
        requested: whether it was made; a run that begins later ends at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self._lock = threading.Lock()
        self._ends: list[Callable[[], object]] = []

    def request(self) -> None:
        """End the runs that go on, and those that begin later."""
        with self._lock:
            self.requested = True
            for end in self._ends:
                end()

    @contextmanager
    def ends(self, end: Callable[[], object]) -> Iterator[None]:
        """Call `end` where the request comes inside of the block, and never after it.

        Raises:
            EngineError: the request was made before.
        """
        with self._lock:
            if self.requested:
                raise EngineError(ENDED)
            self._ends.append(end)
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)


ENDED = "the run was ended, since nobody waits for its result"


def check_logits(outputs: object, shape: tuple[int, ...]) -> Arrays:
    """Return the two logits that a graph or session returned, in float32; refuse anything else.

    Args:
        outputs: what it returned for start_logits and end_logits. float16 is converted; no other type is.
        shape: (B, T) of the inputs.

    Raises:
        EngineError: they are not two arrays of floats of this shape.
    """
    returned = tuple(outputs) if isinstance(outputs, (tuple, list, np.ndarray)) else (outputs,)
    logits = [
        value.astype(np.float32, copy=False)
        for value in returned[: len(OUTPUTS)]
        if isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float16) and value.shape == shape
    ]
    if len(logits) != len(OUTPUTS) or len(returned) != len(OUTPUTS):
        raise EngineError(
            f"the graph returned {' and '.join(map(_described, returned[:3]))} for inputs {shape}; it must return "
            f"start_logits and end_logits, float32 {shape} each: use another graph"
        )
    return logits[0], logits[1]


def _described(value: object) -> str:
    """Return type and shape of an output, without its content."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def check_finite(logits: Arrays, lengths: Sequence[int]) -> None:
    """Refuse logits of which one is infinite or not a number, except for padding.

    Args:
        logits: float32 (B, T) each.
        lengths: tokens of each row without padding.

    Raises:
        EngineError: one is.
    """
    if all(np.isfinite(side).all() for side in logits):
        return
    real = np.arange(logits[0].shape[1]) < np.asarray(lengths)[:, None]
    if not all(np.isfinite(side[real]).all() for side in logits):
        raise EngineError(
            "the graph returned logits that are infinite or not a number: its precision overflows on this "
            "text; use a bundle of another precision, such as fp32"
        )
