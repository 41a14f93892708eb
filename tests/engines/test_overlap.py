"""overlapped: order, what runs in which thread, order of failures, early stop, interpreter exit, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from qa_onnx.engines.overlap import NAME, overlapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOON = 60.0  # seconds; only a failure takes so long


class Panic(BaseException):
    """As tokenizers raises it."""


def portions(
    count: int, make: Callable[[int], int] = int, *, then: BaseException | None = None
) -> Iterator[tuple[int, bool]]:
    """The numbers up to `count`, each with whether another one follows."""
    for item in range(count):
        yield make(item), item < count - 1 or then is not None
    if then is not None:
        raise then


def parts(portion: int) -> list[int]:
    return [portion, -portion]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(NAME)]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("can_start", [True, False])
def test_each_comes_with_its_parts_in_order(count: int, can_start: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    if not can_start:
        monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(overlapped(portions(count), parts)) == [(item, [item, -item]) for item in range(count)]
    assert not threads()


def test_the_next_is_made_and_the_one_before_is_used_while_one_runs() -> None:
    made = [threading.Event() for _ in range(4)]
    used = [threading.Event() for _ in range(4)]

    def make(item: int) -> int:
        made[item].set()
        return item

    def run(item: int) -> Iterator[bool]:
        """Whether the caller went on meanwhile."""
        later = item == 3 or made[item + 1].wait(SOON)
        yield later and (item == 0 or used[item - 1].wait(SOON))

    for item, met in overlapped(portions(4, make), run):
        assert met == [True]
        used[item].set()


def test_all_but_the_runs_happens_in_the_callers_thread() -> None:
    here = threading.current_thread()
    made = []

    def make(item: int) -> int:
        made.append(threading.current_thread())
        return item

    def run(_: int) -> list[threading.Thread]:
        return [threading.current_thread()]

    ran = {thread for _, result in overlapped(portions(3, make), run) for thread in result}
    assert set(made) == {here}
    assert len(ran) == 1
    assert here not in ran
    assert list(overlapped(portions(1), run)) == [(0, [here])], "a single portion"


@pytest.mark.parametrize("failure", [ValueError("no more"), Panic("no more")])
@pytest.mark.parametrize("before", [0, 1, 2, 5])
@pytest.mark.parametrize("where", ["portions", "make", "run"])
def test_a_failure_comes_after_what_was_before_it(where: str, before: int, failure: BaseException) -> None:
    def fail_at(here: str, item: int) -> int:
        if where == here and item == before:
            raise failure
        return item

    source = portions(
        before if where == "portions" else before + 3,
        lambda item: fail_at("make", item),
        then=failure if where == "portions" else None,
    )
    results: list[int] = []
    with pytest.raises(type(failure), match="no more") as caught:
        results.extend(item for item, _ in overlapped(source, lambda item: [fail_at("run", item)]))
    assert caught.value is failure
    assert results == list(range(before))
    assert not threads()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_a_portion_is_made_is_raised_at_once(interrupt: type[BaseException]) -> None:
    with pytest.raises(interrupt):
        next(overlapped(portions(1, then=interrupt()), parts))
    assert not threads()


def test_a_caller_that_stops_early_ends_the_run_at_its_next_part() -> None:
    began: list[int] = []
    runs = threading.Event()

    def run(item: int) -> Iterator[int]:
        began.append(item)
        yield item
        for _ in range(6000 if item == 1 else 0):
            runs.set()
            yield threading.Event().wait(0.01)
        began.append(-item)

    results = overlapped(portions(9), run)
    assert next(results) == (0, [0])
    assert runs.wait(SOON)
    results.close()
    assert began == [0, 0, 1]
    assert not threads()


def test_a_portion_is_freed_once_the_caller_drops_it() -> None:
    alive: list[weakref.ref[set[int]]] = []

    def make(item: int) -> set[int]:
        assert all(reference() is None for reference in alive[:-2]), "but for one that runs and one that waits"
        portion = {item}
        alive.append(weakref.ref(portion))
        return portion

    for pair in overlapped(((make(item), item < 5) for item in range(6)), list):
        del pair
    assert len(alive) == 6


def test_the_background_thread_itself_may_close_it() -> None:
    """As the garbage collector does with a generator that was abandoned in a cycle."""
    suspended, closed = threading.Event(), threading.Event()

    def run(item: int) -> list[int]:
        if item == 1:
            assert suspended.wait(SOON)
            results.close()
            closed.set()
        return [item]

    results = overlapped(portions(9), run)
    assert next(results) == (0, [0])
    (worker,) = threads()
    suspended.set()
    worker.join(SOON)
    assert not worker.is_alive()
    assert closed.is_set()


START = """
import atexit, os, threading, time
from qa_onnx.engines.overlap import overlapped
results = overlapped(((item, item < 4) for item in range(5)), lambda item: [item])
show = lambda: print([item for item, _ in results], flush=True)
"""
LATE_THREAD = "threading.Thread(target=lambda: (threading.main_thread().join(), show())).start()"
AT_EXIT = "atexit.register(show)"
GOES_ON = "next(results); atexit.register(show)"
ABANDONED = """
results = overlapped(((item, True) for item in range(9)), lambda item: [time.sleep(0.1 * item)])
next(results)
print("[]")
"""
FORK = """
import warnings
warnings.simplefilter("ignore")  # of threads and forks
next(results)
child = os.fork()
rest = [item for item, _ in results]
if child == 0:
    os._exit(7 if rest == [1, 2, 3, 4] else 8)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print(rest)
"""


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        pytest.param(LATE_THREAD, "[0, 1, 2, 3, 4]", id="a thread that outlives the main one"),
        pytest.param(AT_EXIT, "[0, 1, 2, 3, 4]", id="begun at exit"),
        pytest.param(GOES_ON, "[1, 2, 3, 4]", id="continued at exit"),
        pytest.param(ABANDONED, "[]", id="abandoned"),
        pytest.param(
            FORK,
            "[1, 2, 3, 4]",
            id="continued in a fork",
            marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
        ),
    ],
)
def test_no_interpreter_or_fork_hangs(code: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + code], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"{printed}\n", "", 0)
