"""Many batches side by side, one on each core, instead of one after the other on all cores.

    batches --lanes, a thread for each core--> logits, in the order of the batches

On all cores, a run waits at each node of the graph until the slowest core has done its part, some hundred times. A
lane never waits for another one, so many batches are over sooner, most of all where another program has one of the
cores. A single batch takes longer in a lane, so few batches run as before, one after the other.

Lanes need the graph opened once more, for runs on one core. That takes as long as the first time, and as much
memory, so it is done when enough windows have come, and not for large graphs. Until then, and where it fails, the
same batches run one after the other. Their logits are the same up to rounding.

Left out: which batches to make (steps.py), and the engines.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from qa_onnx.errors import QaOnnxError
from qa_onnx.session import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.engines.engine_session import CpuSession
    from qa_onnx.session import Arrays

_LOG = logging.getLogger(__name__)

_MOST_LANES = 16  # more were never measured
_WINDOWS_A_LANE = 4  # with fewer, too many lanes are idle while the last one works
_OPEN_AFTER = 96  # windows that could have used lanes; opening takes as long as some 30 of them
_LARGEST_GRAPH = 100_000_000  # bytes; larger ones wait less for cores, and need more memory

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def pays_off(threads: int, graph_bytes: float) -> bool:
    """Return whether many windows run side by side with so many threads and a graph of this size."""
    return 1 < threads <= _MOST_LANES and graph_bytes <= _LARGEST_GRAPH


class LanesSession:
    """An engine's session that also runs many batches side by side, a `LaneSession`. It pickles by its arguments.

    Args:
        session: runs a batch on all cores.
        lanes: how many batches of a call run at a time.
    """

    def __init__(self, session: CpuSession, lanes: int) -> None:
        self.input_names, self.run_overhead = session.input_names, session.run_overhead
        self.leaves_cpu_idle, self.lane_tokens = session.leaves_cpu_idle, session.lane_tokens
        self.lanes, self.enough_windows = lanes, _WINDOWS_A_LANE * lanes
        self._session = session
        self._beside: CpuSession | None = None
        self._refused = False
        self._windows = 0

    def run(self, inputs: Mapping[str, NDArray[np.int64]], *, stop: Stop | None = None) -> Arrays:
        """Compute a batch on all cores; see `EndableSession.run`."""
        return self._session.run(inputs, stop=stop)

    def run_each(
        self, batches: Sequence[Mapping[str, NDArray[np.int64]]], *, stop: Stop | None = None
    ) -> Iterator[Arrays]:
        """Compute many batches; see `LaneSession.run_each`."""
        self._windows += sum(len(batch["input_ids"]) for batch in batches)
        stop = Stop() if stop is None else stop
        beside = self._lanes_open()
        if beside is None:
            return map(partial(self._session.run, stop=stop), batches)
        return self._side_by_side(beside, batches, stop)

    def _side_by_side(
        self, beside: CpuSession, batches: Sequence[Mapping[str, NDArray[np.int64]]], stop: Stop
    ) -> Iterator[Arrays]:
        try:
            yield from side_by_side(partial(beside.run, stop=stop), batches, self.lanes)
        finally:
            if stop.requested:  # a session that was ended may have to open its graph again
                self._beside = None

    def _lanes_open(self) -> CpuSession | None:
        """Return the session of the lanes, opened when enough windows have come; None: there is none."""
        if self._beside is None and not self._refused and self._windows >= _OPEN_AFTER:
            try:
                # Two threads at once may do it twice, and one of the two is freed.
                self._beside = self._session.for_lanes(self.lanes)
            except QaOnnxError as error:
                self._refused = True
                _LOG.warning(
                    "many windows will not run side by side, since the graph cannot be opened again: %s", error
                )
        return self._beside

    def renew(self) -> None:
        """Open the graph again, for all later runs; see `EndableSession.renew`."""
        self._session.renew()
        self._beside = None

    def __reduce__(self) -> tuple[object, ...]:
        return LanesSession, (self._session, self.lanes)


def side_by_side(run: Callable[[_Item], _Result], items: Sequence[_Item], lanes: int) -> Iterator[_Result]:
    """Run items in threads of their own, the first ones first; yield the results in the order of the items.

    Args:
        run: of one item. After an error no other item begins; it is raised in its turn.
        items: any number.
        lanes: threads at most. Where the system grants none, the items run here.
    """
    waiting = deque((item, Future[_Result]()) for item in items)
    futures = deque(future for _, future in waiting)

    def work() -> None:
        while True:
            try:
                item, future = waiting.popleft()
            except IndexError:
                return
            try:
                future.set_result(run(item))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
                waiting.clear()  # those before it have all begun
                future.set_exception(error)
            del item, future  # an error keeps this frame, and would keep itself with it

    threads = _started(work, min(lanes, len(futures)))
    if not threads:
        work()
    try:
        while futures:
            yield futures.popleft().result()
    finally:
        waiting.clear()
        futures.clear()
        for thread in threads:
            if thread is not threading.current_thread():  # the garbage collector may close this one anywhere
                thread.join()


def _started(work: Callable[[], None], count: int) -> list[threading.Thread]:
    """Start threads that do not keep the interpreter from ending; fewer where the system grants no more."""
    threads: list[threading.Thread] = []
    for _ in range(count):
        thread = threading.Thread(target=work, name="qa-onnx lane", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            break
        threads.append(thread)
    return threads
