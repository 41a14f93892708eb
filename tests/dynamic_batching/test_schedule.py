"""Schedule: what is due next, step by step, without threads and with a clock of its own."""

from __future__ import annotations

import math

import pytest

from qa_onnx import Example, Options, Windower
from qa_onnx.dynamic_batching import schedule
from qa_onnx.dynamic_batching.fair_queue import FairQueue
from qa_onnx.dynamic_batching.observer import Watch
from qa_onnx.dynamic_batching.requests import Request
from qa_onnx.dynamic_batching.schedule import Schedule

OPTIONS = Options(max_length=40, doc_stride=8, max_question_length=16)


def schedule_of(*contexts: str, max_wait_s: float = 0.0, many: float = math.inf) -> tuple[Schedule, list[Request]]:
    """A schedule with requests that came at 0, 1, 2, ... seconds."""
    made = Schedule(FairQueue(80, padding=80), max_wait_s=max_wait_s, many=many)
    requests = [
        Request(number, Example("a", context), OPTIONS, accepted=float(number))
        for number, context in enumerate(contexts)
    ]
    for request in requests:
        made.add(request)
    return made, requests


def cut_all(made: Schedule, windower: Windower) -> None:
    for request in made.next_texts():
        [cut] = windower.cut([request.example], OPTIONS)
        made.enqueue(request, cut)


def test_texts_are_cut_then_their_windows_run(windower: Windower) -> None:
    made, requests = schedule_of("the a", "the a the")
    assert made.delay(5.0) == math.inf
    assert made.next_texts() == requests
    assert made.next_texts() == []
    for request in requests:
        [cut] = windower.cut([request.example], OPTIONS)
        made.enqueue(request, cut)
    assert made.delay(5.0) <= 0
    batch = made.next_batch()
    assert {request.number for request, _ in batch} == {0, 1}
    assert all(request.cut is not None and window in request.cut.windows for request, window in batch)
    assert made.delay(5.0) == math.inf


def test_texts_are_taken_as_many_as_are_cut_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_CUT_CHARACTERS", 10)
    made, requests = schedule_of("the a", "the a", "the a")
    assert [made.next_texts(), made.next_texts()] == [requests[:2], requests[2:]]


def test_a_batch_waits_until_it_is_full_or_the_oldest_has_waited_long_enough(windower: Windower) -> None:
    made, _ = schedule_of("the a", "the a", max_wait_s=3.0)
    cut_all(made, windower)
    assert made.delay(1.0) == 2.0
    assert made.delay(4.5) == -1.5
    made.add(Request(2, Example("a", "the " * 90), OPTIONS, accepted=1.0))
    cut_all(made, windower)
    assert made.delay(1.0) == 0.0


def test_a_long_text_is_not_among_the_others_and_waits_while_many_windows_do(
    windower: Windower, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, [short, long] = schedule_of("the a", "the" + " " * 31_000)
    assert made.next_texts() == [short]
    [cut] = windower.cut([short.example], OPTIONS)
    made.enqueue(short, cut)
    monkeypatch.setattr(schedule, "_ENOUGH_WINDOWS", 1)
    assert made.next_long_text() is None
    made.next_batch()
    assert made.next_long_text() is long
    assert made.next_long_text() is None


def test_a_request_that_left_is_neither_cut_nor_run(windower: Windower) -> None:
    made, requests = schedule_of("the a", "the a", "the" + " " * 31_000)
    made.remove(2)
    made.remove(0)
    assert made.next_texts() == [requests[1]]
    assert made.next_long_text() is None
    made.remove(1)  # while it is being cut
    [cut] = windower.cut([requests[1].example], OPTIONS)
    made.enqueue(requests[1], cut)
    assert made.requests == {}
    assert made.next_batch() == []
    assert made.tokens() == 0


def test_the_seconds_of_a_token_are_a_running_mean() -> None:
    watch = Watch(None)
    watch.ran([(1, 10)], 0.5)
    assert watch.token_seconds == 0.05
    watch.ran([(1, 4), (1, 6)], 1.0)
    assert watch.token_seconds == pytest.approx(0.06)


def test_what_waits_is_estimated_from_characters_and_counted_from_windows(windower: Windower) -> None:
    made, _ = schedule_of("the " * 20)
    assert made.tokens() == 81 / 4
    cut_all(made, windower)
    assert made.tokens() == made.queue.tokens == 24


def test_the_time_of_requests_is_over_whether_they_wait_or_run(windower: Windower) -> None:
    made, (first, second) = schedule_of("the a", "the a")
    assert (made.first_deadline(), made.late(1e9)) == (math.inf, [])
    first.timeout_s, second.timeout_s = 9.0, 3.0
    assert (made.first_deadline(), made.late(3.9), made.late(4.0)) == (4.0, [], [second])
    cut_all(made, windower)
    made.next_batch()
    assert made.late(9.0) == [first, second]
    made.remove(second.number)
    assert (made.first_deadline(), made.late(9.0)) == (9.0, [first])


def test_of_many_windows_several_batches_are_due_together(windower: Windower) -> None:
    made, requests = schedule_of(*["the a " * 12] * 7, many=4)  # a batch has room for two or three
    cut_all(made, windower)
    alone = len(schedule_of_one(windower))
    assert 1 < alone < 4
    together = made.next_batch()
    assert 4 <= len(together) < 4 + alone
    assert len({id(window) for _, window in together}) == len(together)
    left = made.queue.windows
    assert left == sum(len(request.cut.windows) for request in requests if request.cut) - len(together)
    while made.queue.windows >= 4:
        assert len(made.next_batch()) >= 4
    if made.queue.windows:
        assert len(made.next_batch()) <= alone  # too few to run side by side


def schedule_of_one(windower: Windower) -> list[tuple[Request, object]]:
    """The first batch of the same windows, where none run side by side."""
    made, _ = schedule_of(*["the a " * 12] * 7)
    cut_all(made, windower)
    return list(made.next_batch())
