"""Waiting for something to come true, with a patience that only a failure needs."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 60.0  # for what takes a second on a machine with nothing else to do


def eventually(true: Callable[[], object], what: str) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


@contextmanager
def paused(process: int) -> Iterator[None]:
    """Let a process stand still."""
    os.kill(process, signal.SIGSTOP)
    try:
        eventually(lambda: state_of(process) == "T", "it stands still")
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def state_of(process: int) -> str:
    """A process' state as Linux names it: T stands still, Z has ended and is not buried; "" where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def blocks(process: int, sign: signal.Signals) -> bool:
    """Whether a process has blocked a signal."""
    mask = re.search(r"^SigBlk:\s*(\w+)$", Path(f"/proc/{process}/status").read_text(encoding="ascii"), re.M)
    assert mask is not None
    return bool(int(mask[1], 16) >> (sign - 1) & 1)
