"""Steps: each step by itself leads to what a reader predicts, with this session or another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qa_onnx import EngineError, Example, InputError, Options, Reader, Windower
from qa_onnx.testing import FakeSession

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


def test_options_and_sessions_that_do_not_fit_are_refused(reader: Reader) -> None:
    with pytest.raises(InputError, match="max_length is 41; this model reads at most 40 tokens"):
        reader.steps.check(replace(SMALL, max_length=41))
    with pytest.raises(InputError, match="more than doc_stride"):
        reader.steps.check(replace(SMALL, doc_stride=39))
    odd = FakeSession()
    odd.input_names = ("pixel_values",)
    with pytest.raises(EngineError, match="pixel_values"):
        replace(reader.steps, session=odd)
