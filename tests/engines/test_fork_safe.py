"""ForkSafe: what one process opened is never touched by the processes that fork from it."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from qa_onnx.engines.fork_safe import ForkSafe
from qa_onnx.errors import EngineError


def test_it_opens_at_once_and_once() -> None:
    opened: list[int] = []

    def open_here() -> int:
        opened.append(len(opened))
        return len(opened)

    holder = ForkSafe(open_here)
    assert opened == [0]
    assert [holder.get(), holder.get()] == [1, 1]
    holder.leave_to_parent()
    threads = [threading.Thread(target=holder.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holder.get() == 2
    assert len(opened) == 2


def test_a_lock_that_another_thread_held_at_the_fork_holds_nobody() -> None:
    holder = ForkSafe(object)
    first = holder.get()
    holder._lock.acquire()
    holder.leave_to_parent()
    assert holder.get() is not first


def test_what_opening_raises_is_raised_and_may_go_well_later() -> None:
    answers: list[object] = [1, EngineError("no"), 2]

    def open_here() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    holder = ForkSafe(open_here)
    holder.leave_to_parent()
    with pytest.raises(EngineError, match="no"):
        holder.get()
    assert holder.get() == 2


FORKING = """
import os, sys
from qa_onnx.engines.fork_safe import ForkSafe

class Opened:
    def __init__(self):
        self.process = os.getpid()
    def __del__(self):
        if os.getpid() != self.process:
            os.write(1, b"destroyed in a child\\n")

used, unused = ForkSafe(Opened), ForkSafe(Opened)
child = os.fork()
if child == 0:
    assert used.get().process == os.getpid() and used.get() is used.get()
    grandchild = os.fork()
    if grandchild == 0:
        assert used.get().process == os.getpid()
        sys.exit(5)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) + 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), used.get().process == os.getpid())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks on Windows")
def test_each_process_opens_its_own_and_destroys_none_of_another() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "6 True\n"
