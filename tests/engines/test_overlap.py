"""overlapped: what runs while what is made, in which order, what fails when, and how it ends."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from qa_onnx.engines import overlap
from qa_onnx.engines.overlap import NAME, overlapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SOON = 60.0  # seconds; only a failure takes so long


class Panic(BaseException):
    """As tokenizers raises it."""


def groups(
    count: int, make: Callable[[int], int] = int, *, then: BaseException | None = None
) -> Iterator[tuple[int, bool]]:
    """The numbers up to `count`, each with whether another one follows."""
    for item in range(count):
        yield make(item), item < count - 1 or then is not None
    if then is not None:
        raise then


def parts(group: int) -> list[int]:
    return [group, -group]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_each_comes_with_its_parts_in_order(count: int) -> None:
    assert list(overlapped(groups(count), parts)) == [(item, [item, -item]) for item in range(count)]
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

    for item, met in overlapped(groups(4, make), run):
        assert met == [True]
        used[item].set()


def test_the_first_runs_before_the_second_is_made() -> None:
    ran = threading.Event()

    def make(item: int) -> int:
        assert item == 0 or ran.wait(SOON)
        return item

    def run(item: int) -> list[int]:
        ran.set()
        return [item]

    assert list(overlapped(groups(2, make), run)) == [(0, [0]), (1, [1])]


def test_all_but_the_runs_happens_in_the_callers_thread() -> None:
    here = threading.current_thread()
    made = []

    def make(item: int) -> int:
        made.append(threading.current_thread())
        return item

    def run(_: int) -> list[threading.Thread]:
        return [threading.current_thread()]

    ran = [thread for _, found in overlapped(groups(3, make), run) for thread in found]
    assert set(made) == {here}
    assert [thread.name for thread in ran] == [NAME] * 3
    assert len(set(ran)) == 1
    assert list(overlapped(groups(1), run)) == [(0, [here])], "an only one"


@pytest.mark.parametrize("failure", [ValueError("no more"), Panic("no more")])
@pytest.mark.parametrize("before", [0, 1, 2, 5])
@pytest.mark.parametrize("where", ["groups", "make", "run"])
def test_a_failure_comes_after_what_was_before_it(where: str, before: int, failure: BaseException) -> None:
    def fail_at(here: str, item: int) -> int:
        if where == here and item == before:
            raise failure
        return item

    given = groups(
        before if where == "groups" else before + 3,
        lambda item: fail_at("make", item),
        then=failure if where == "groups" else None,
    )
    found: list[int] = []
    with pytest.raises(type(failure), match="no more") as caught:
        found.extend(item for item, _ in overlapped(given, lambda item: [fail_at("run", item)]))
    assert caught.value is failure
    assert found == list(range(before))
    assert not threads()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interruption_waits_for_nothing(interrupt: type[BaseException]) -> None:
    with pytest.raises(interrupt):
        next(overlapped(groups(1, then=interrupt()), parts))
    assert not threads()


def test_who_stops_early_ends_the_run_at_its_next_part_and_begins_no_other() -> None:
    began: list[int] = []
    goes_on = threading.Event()

    def run(item: int) -> Iterator[int]:
        began.append(item)
        yield item
        if item == 1:
            goes_on.set()
            (worker,) = overlap._living
            assert worker._stopped.wait(SOON)  # the caller closes meanwhile
            yield item
            began.append(-1)

    found = overlapped(groups(9), run)
    assert next(found) == (0, [0])
    assert goes_on.wait(SOON)
    found.close()
    assert began == [0, 1]
    assert not threads()


def test_what_was_handed_on_is_not_kept() -> None:
    class Group:
        pass

    alive: list[weakref.ref[Group]] = []

    def make() -> Iterator[tuple[Group, bool]]:
        for item in range(6):
            gone = [reference() is None for reference in alive[:-2]]
            assert all(gone), "but for the one that runs and the one that waits"
            group = Group()
            alive.append(weakref.ref(group))
            yield group, item < 5
            del group

    gc.collect()
    for pair in overlapped(make(), lambda _: [0]):
        del pair
    assert len(alive) == 6


def test_the_collector_may_close_it_in_its_own_thread() -> None:
    """Of an iterator that was left in a cycle."""
    cycle: list[object] = []

    def run(item: int) -> Iterable[int]:
        if item == 1:
            left.set()
            assert dropped.wait(SOON)
            gc.collect()
        return [item]

    left, dropped = threading.Event(), threading.Event()
    found = overlapped(groups(9), run)
    assert next(found) == (0, [0])
    assert left.wait(SOON)
    gc.disable()
    try:
        cycle.extend((cycle, found))
        (worker,) = threads()
        del cycle, found
        dropped.set()
        worker.join(SOON)
        assert not worker.is_alive()
    finally:
        gc.enable()


LATE = """
import threading, time
from qa_onnx.engines.overlap import overlapped

def work():
    threading.main_thread().join()
    found = [item for item, _ in overlapped(((item, item < 3) for item in range(4)), lambda item: [item])]
    print(found, flush=True)

threading.Thread(target=work).start()
"""
AT_EXIT = """
import atexit
from qa_onnx.engines.overlap import overlapped
run = lambda item: [item]
atexit.register(lambda: print([i for i, _ in overlapped(((i, i < 3) for i in range(4)), run)], flush=True))
"""
LEFT = """
import threading, time
from qa_onnx.engines.overlap import overlapped
runs = threading.Event()

def run(item):
    try:
        while True:
            runs.set()
            time.sleep(0.02)
            yield item
    finally:
        print("ended in time", flush=True)  # as no thread does that dies with the interpreter

found = overlapped(((item, True) for item in range(9)), lambda item: run(item) if item else [0])
next(found)
runs.wait()
"""
GOES_ON = """
import atexit
from qa_onnx.engines.overlap import overlapped
found = overlapped(((item, item < 3) for item in range(4)), lambda item: [item])
atexit.register(lambda: print([0, *(item for item, _ in found)], flush=True))
next(found)
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [(LATE, "[0, 1, 2, 3]"), (AT_EXIT, "[0, 1, 2, 3]"), (GOES_ON, "[0, 1, 2, 3]"), (LEFT, "ended in time")],
    ids=["late thread", "at exit", "goes on at exit", "left"],
)
def test_an_interpreter_that_ends(code: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert (done.stdout, done.stderr) == (f"{said}\n", "")


def test_where_no_thread_can_start_the_caller_runs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    here = threading.current_thread()
    found = list(overlapped(groups(5), lambda item: [(item, threading.current_thread())]))
    assert found == [(item, [(item, here)]) for item in range(5)]
    assert not overlap._living


def test_nothing_is_left_of_a_worker() -> None:
    class Run:
        def __call__(self, group: int) -> list[int]:
            return [group]

    run = Run()
    left = weakref.ref(run)
    assert len(list(overlapped(groups(5), run))) == 5
    del run
    gc.collect()
    assert left() is None
    assert not overlap._living


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_that_goes_on_runs_by_itself() -> None:
    code = """
import os, warnings
from qa_onnx.engines.overlap import overlapped
warnings.simplefilter("ignore")  # of threads and forks
found = overlapped(((item, item < 4) for item in range(5)), lambda item: [item])
first = next(found)
child = os.fork()
rest = [item for item, _ in found]
if child == 0:
    os._exit(7 if rest == [1, 2, 3, 4] else 8)
print(rest, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "[1, 2, 3, 4] 7\n"
