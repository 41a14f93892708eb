"""What a native library opened, usable in every process that forks from the one that opened it.

An engine's threads do not live on in a forked process: a run there may wait for them for ever, and so may the end
of the process, where the engine's destructor joins them. So a child never touches what its parent opened. It is
kept, unused, to the end of the process, and opened again when it is first needed. What a fork costs a child is
thus the time of a load and the memory of one more copy.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class Native(Generic[_T]):
    """Holds what `open_here` returns.

    Args:
        open_here: called at once, and once more in each forked process that calls `get`.
    """

    def __init__(self, open_here: Callable[[], _T]) -> None:
        self._open = open_here
        self._lock = threading.Lock()
        self._value: _T | None = open_here()
        _ALL.add(self)

    def get(self) -> _T:
        """What was opened in this process.

        Raises:
            EngineError: as opening it does.
        """
        value = self._value
        if value is None:
            with self._lock:
                if self._value is None:
                    self._value = self._open()
                value = self._value
        return value

    def leave_to_parent(self) -> None:
        """Forget the value without destroying it; the lock too, whose holder may be gone."""
        if self._value is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._value))  # a reference that nothing gives back
        self._value = None
        self._lock = threading.Lock()


_ALL: WeakSet[Native[Any]] = WeakSet()


def _after_fork() -> None:
    for native in list(_ALL):
        native.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork)
