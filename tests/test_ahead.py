"""overlapped: what runs while what is made, in which order, and what fails when."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from qa_onnx.ahead import overlapped

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 20.0  # seconds; only a failure takes so long


def double(item: int) -> int:
    return 2 * item


def negative(made: int) -> int:
    return -made


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("qa-onnx-run")]


def up_to(count: int, *, then: Exception | None = None) -> Iterator[int]:
    yield from range(count)
    if then is not None:
        raise then


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_each_comes_with_its_result_in_order(count: int) -> None:
    assert list(overlapped(range(count), double, negative)) == [(2 * i, -2 * i) for i in range(count)]
    assert not names()


def test_the_next_is_made_and_the_one_before_is_used_while_one_runs() -> None:
    made = [threading.Event() for _ in range(4)]
    used = [threading.Event() for _ in range(4)]

    def make(item: int) -> int:
        made[item].set()
        return item

    def run(item: int) -> bool:
        """Whether the caller went on meanwhile."""
        later = item == 3 or made[item + 1].wait(SOON)
        return later and (item == 0 or used[item - 1].wait(SOON))

    for item, met in overlapped(range(4), make, run):
        assert met
        used[item].set()


def test_all_but_the_run_happens_in_the_callers_thread() -> None:
    here = threading.current_thread()
    read, made = [], []

    def items(count: int) -> Iterator[int]:
        for item in range(count):
            read.append(threading.current_thread())
            yield item

    def make(item: int) -> int:
        made.append(threading.current_thread())
        return item

    ran = [thread for _, thread in overlapped(items(3), make, lambda _: threading.current_thread())]
    assert {*read, *made} == {here}
    assert len({*ran}) == 1
    assert here not in ran
    assert next(overlapped(items(1), make, lambda _: threading.current_thread()))[1] is here, "an only one"


@pytest.mark.parametrize("before", [0, 1, 2, 5])
@pytest.mark.parametrize("where", ["items", "make", "run"])
def test_a_failure_comes_after_what_was_before_it(where: str, before: int) -> None:
    failure = ValueError("no more")

    def fail_at(here: str, item: int) -> int:
        if where == here and item == before:
            raise failure
        return item

    items = up_to(before, then=failure) if where == "items" else up_to(before + 3)
    found: list[int] = []
    pairs = overlapped(items, lambda item: fail_at("make", item), lambda item: fail_at("run", item))
    with pytest.raises(ValueError, match="no more") as caught:
        found.extend(item for item, _ in pairs)
    assert caught.value is failure
    assert found == list(range(before))
    assert not names()


def test_after_a_failed_run_no_other_one_begins() -> None:
    ran = []

    def run(item: int) -> None:
        ran.append(item)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        list(overlapped(range(9), double, run))
    assert ran in ([0], [0, 2])  # the second one may have begun before the first one's failure was seen


def test_who_stops_early_leaves_no_thread() -> None:
    found = overlapped(iter(int, 1), double, negative)  # without end
    assert next(found) == (0, 0)
    assert names()
    found.close()
    assert not names()
