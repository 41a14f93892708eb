"""A native object that works in every process that forks from the one that opened it.

An engine's threads do not exist in a forked process: a run there may wait for them forever, and so may the end of
the process, where the engine's destructor joins them. So a child never touches its parent's object. It keeps it,
unused, until it ends, and opens its own when it first needs one: a fork costs a child the time of a load and the
memory of one more copy.
"""

from __future__ import annotations

import ctypes
import os
import threading
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakMethod, WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class ForkSafe(Generic[_T]):
    """Hold an object that every process opens for itself.

    Args:
        open_here: opens it; called at once, and by `get` after `forget` or a fork. A method's owner is not kept
            alive: the object is freed with the last reference to the owner, and not some time later.
    """

    def __init__(self, open_here: Callable[[], _T]) -> None:
        method: Any = open_here if isinstance(open_here, MethodType) else None
        self._open: Callable[[], Any] = (lambda: open_here) if method is None else WeakMethod(method)
        self._lock = threading.Lock()
        self._value: _T | None = open_here()
        _ALL.add(self)

    def get(self) -> _T:
        """Return the object of this process.

        Raises:
            EngineError: opening it failed.
        """
        value = self._value
        if value is None:
            with self._lock:
                if self._value is None:
                    self._value = self._open()()
                value = self._value
        return value

    def forget(self) -> None:
        """Let the next `get` open the object again; what still uses the one before keeps it as long."""
        with self._lock:
            self._value = None

    def leave_to_parent(self) -> None:
        """Drop the object without destroying it, and the lock, which a thread of the parent may hold."""
        if self._value is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._value))  # a reference that nothing gives back
        self._value = None
        self._lock = threading.Lock()


_ALL: WeakSet[ForkSafe[Any]] = WeakSet()


def _after_fork() -> None:
    for one in list(_ALL):
        one.leave_to_parent()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
