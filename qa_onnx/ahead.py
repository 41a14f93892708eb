"""Groups of examples on a GPU: while one runs, the host cuts the next one and searches the one before.

Left out: the steps themselves (reader.py). On a CPU they would only take the cores away from each other.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
_Result = TypeVar("_Result")


def overlapped(
    items: Iterable[_Item], make: Callable[[_Item], _Made], run: Callable[[_Made], _Result]
) -> Generator[tuple[_Made, _Result]]:
    """Run what is made of each item in a thread, one after the other; all else happens in the caller's.

    Args:
        items: read one ahead of what runs. Should they fail, that comes in its turn, after those before.
        make: is called while what was made before runs, and so is the caller. Failures likewise.
        run: is given what was made. An only item runs in the caller's thread, which wins nothing by another.

    Yields:
        What was made of each item, and what came of running it, in order.
    """
    read = _until_failure(items)
    head = list(islice(read, 2))
    if len(head) == 1:
        made = make(_raised(head[0]))
        yield made, run(made)
        return
    thread = ThreadPoolExecutor(1, "qa-onnx-run")
    running: deque[tuple[_Made, Future[_Result]]] = deque()
    failure = None
    try:
        for each in _until_failure(make(_raised(item)) for item in chain(head, read)):
            if isinstance(each, Exception):
                failure = each
                break
            running.append((each, thread.submit(run, each)))
            if len(running) == 2:
                made, result = running.popleft()
                yield made, result.result()
        for made, result in running:
            yield made, result.result()
    finally:
        thread.shutdown(cancel_futures=True)
    if failure is not None:
        raise failure


def _until_failure(items: Iterable[_Item]) -> Iterator[_Item | Exception]:
    """The items, and last the exception that ends them, if one does."""
    try:
        yield from items
    except Exception as error:  # noqa: BLE001  # raised again in its turn
        yield error


def _raised(item: _Item | Exception) -> _Item:
    if isinstance(item, Exception):
        raise item
    return item
