"""Steps: each step by itself leads to what a reader predicts, with this session or another."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import EngineError, Example, InputError, Options, Reader, Windower
from qa_onnx.engines.lanes import side_by_side
from qa_onnx.session import Stop
from qa_onnx.testing import FakeSession
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SMALL = Options(max_length=40, doc_stride=8, max_question_length=16, n_best=5)
EXAMPLES = [Example("Who?", "The keeper lit the lamp. " * 9), Example("When?", "At dusk."), Example("Why?", "")]


@pytest.fixture
def reader(windower: Windower) -> Reader:
    return Reader(session=FakeSession(), windower=windower, options=SMALL)


def test_the_steps_one_by_one_make_what_a_reader_predicts(reader: Reader) -> None:
    steps = reader.steps
    cut = steps.cut(EXAMPLES, SMALL)
    windows = [window for example in cut for window in example.windows]
    batches = list(steps.run(windows, batch_tokens=SMALL.batch_tokens))
    assert sum(batch.tokens for batch, _ in batches) >= sum(len(window.input_ids) for window in windows)
    rows = [row for _, rows in batches for row in rows]
    assert sorted(map(id, windows)) == sorted(id(row.window) for row in rows)
    scored = list(steps.search(rows, SMALL))
    parts = [[part for part in scored if part.window.example == number] for number in range(len(cut))]
    found = [steps.merge(example, part[::-1], SMALL) for example, part in zip(cut, parts, strict=True)]
    assert found == reader.predict(EXAMPLES)


def test_the_same_steps_take_another_session(reader: Reader) -> None:
    other = FakeSession()
    steps = replace(reader.steps, session=other)
    [(cut, rows)] = steps.stream(EXAMPLES, SMALL)
    assert len(rows) == sum(len(example.windows) for example in cut)
    assert len(other.batches) > 0
    assert isinstance(reader.steps.session, FakeSession)
    assert reader.steps.session.batches == []


def test_windows_are_counted_while_they_run(reader: Reader) -> None:
    options = replace(SMALL, batch_tokens=80)
    seen: list[tuple[int, int]] = []
    found = list(reader.steps.predictions(EXAMPLES, options, on_run=lambda *counts: seen.append(counts)))
    assert found == reader.predict(EXAMPLES, options=options)
    total = sum(len(example.windows) for example in reader.steps.cut(EXAMPLES, options))
    assert len(seen) > 2
    assert seen == sorted(set(seen))
    assert {all_of_them for _, all_of_them in seen} == {total}
    assert seen[-1] == (total, total)


class Interrupted(FakeSession):
    """An `EndableSession` with a Ctrl-C in its first run, which then goes on until it is ended."""

    def run(self, inputs: Any, *, stop: Stop | None = None) -> Any:
        ended = threading.Event()
        with (stop or Stop()).ends(ended.set):
            os.kill(os.getpid(), signal.SIGINT)
            assert ended.wait(PATIENCE_S)
            return super().run(inputs)

    def renew(self) -> None:
        pass


class InterruptedLanes(Interrupted):
    """The same, where batches run side by side from two windows on."""

    lanes, enough_windows, lane_tokens = 1, 2, 80

    def run_each(self, batches: Sequence[Any], *, stop: Stop | None = None) -> Iterator[Any]:
        return side_by_side(partial(self.run, stop=stop), batches, 1)


@pytest.mark.parametrize("kind", [Interrupted, InterruptedLanes])
def test_after_ctrl_c_no_other_batch_begins(reader: Reader, kind: type[Interrupted]) -> None:
    session = kind()
    steps = replace(reader.steps, session=session)
    with pytest.raises(KeyboardInterrupt):
        list(steps.predictions(EXAMPLES, replace(SMALL, batch_tokens=80)))
    assert len(session.batches) == 1
    windows = [window for example in steps.cut(EXAMPLES, SMALL) for window in example.windows]
    with pytest.raises(KeyboardInterrupt):
        list(steps.run(windows, batch_tokens=80))
    assert len(session.batches) == 2


def test_options_and_sessions_that_do_not_fit_are_refused(reader: Reader) -> None:
    with pytest.raises(InputError, match="max_length is 41; this model reads at most 40 tokens"):
        reader.steps.check(replace(SMALL, max_length=41))
    with pytest.raises(InputError, match="more than doc_stride"):
        reader.steps.check(replace(SMALL, doc_stride=39))
    odd = FakeSession()
    odd.input_names = ("pixel_values",)
    with pytest.raises(EngineError, match="pixel_values"):
        replace(reader.steps, session=odd)


@pytest.mark.parametrize("leaves_cpu_idle", [False, True])
def test_an_example_that_cannot_be_cut_has_its_error_among_the_predictions(
    reader: Reader, leaves_cpu_idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qa_onnx.tokens.encoder.LONGEST_TEXT", 1000)
    session = FakeSession()
    session.leaves_cpu_idle = leaves_cpu_idle
    long = Example("Where?", "x" * 1001)
    results = list(replace(reader.steps, session=session).predict_each([long, *EXAMPLES, long] * 200, SMALL))
    for problem in (*results[::5], *results[4::5]):
        assert isinstance(problem, InputError)
        assert "1001 characters; the limit is 1000" in str(problem)
    assert [results[1:4]] * 200 == [results[at + 1 : at + 4] for at in range(0, 1000, 5)]
    assert results[1:4] == reader.predict(EXAMPLES)


def test_an_error_of_the_stream_of_examples_is_none_of_an_example(reader: Reader) -> None:
    def examples() -> Iterator[Example]:
        yield EXAMPLES[0]
        raise InputError("the file ends here")

    with pytest.raises(InputError, match="the file ends here"):
        list(reader.steps.predict_each(examples(), SMALL))
