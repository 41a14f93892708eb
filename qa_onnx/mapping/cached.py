"""The reader of a process: loaded once, for engines that call a function for each part of a table.

Spark and Dask send functions to their worker processes as pickles. What such a function keeps in a global variable
of its script is lost with the next pickle; what this module keeps lasts as long as the process.
"""

from __future__ import annotations

import os
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from qa_onnx.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

_load = cache(Reader.load)
_lock = Lock()


def cached_reader(bundle: str | Path | None = None, **arguments: Any) -> Reader:
    """Return the reader of this process for a bundle and these arguments; the first call loads it.

    All threads share it, and so do all later calls with the same bundle and arguments. It stays in memory until
    the process ends; nobody should close it.

    Args:
        bundle: its folder or .qab file, or "org/name" on the Hugging Face hub; None: the default one. Every
            process must find it there.
        arguments: of `Reader.load`. `threads=1` where an engine keeps a process on each core.

    Raises:
        QaOnnxError: see `Reader.load`; the next call tries again.
    """
    with _lock:  # threads that come together must not load a model each
        return _load(bundle, **arguments)


def _after_fork() -> None:
    """Renew the lock, which a thread of the parent process may hold."""
    global _lock  # noqa: PLW0603
    _lock = Lock()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
