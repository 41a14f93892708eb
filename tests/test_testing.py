"""Test doubles: a reader without a model finds what the test says, in any text and through real windows."""

from __future__ import annotations

import asyncio
import doctest
from dataclasses import replace

import numpy as np
import pytest
import regex
from hypothesis import assume, given
from hypothesis import strategies as st

from qa_onnx import AsyncReader, Example, Session, testing
from qa_onnx.testing import FakeSession, fake_reader, wave_logits

TEXT = "The boat is blue. It leaves at half past six."


def test_the_example_in_the_docstring_is_true() -> None:
    outcome = doctest.testmod(testing, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted == 4
    assert outcome.failed == 0


def test_the_first_text_that_the_context_holds_is_the_answer() -> None:
    reader = fake_reader("red", "half past six", "blue")
    answer = reader.ask("When?", TEXT)
    assert (answer.text, TEXT[answer.start : answer.end]) == ("half past six", "half past six")
    assert answer.probability > 0.99
    assert not reader.ask("When?", "Nobody knows.")
    assert not fake_reader().ask("When?", TEXT)


def test_a_text_in_the_question_is_no_answer() -> None:
    assert not fake_reader("blue").ask("Is it blue?", "It is white.")


@given(before=st.text(max_size=30), answer=st.text(min_size=1, max_size=9), after=st.text(max_size=30))
def test_any_text_can_be_an_answer(before: str, answer: str, after: str) -> None:
    before, answer, after = (text.encode("utf-8", "replace").decode() for text in (before, answer, after))
    assume(answer.strip())
    assume(len(regex.findall(r"\X", before + answer + after)) == len(before + answer + after))
    assert fake_reader(answer).ask("What?", before + answer + after).text == answer.strip()


def test_a_long_context_has_several_windows() -> None:
    reader = fake_reader("blue")
    short = replace(reader.options, max_length=128, doc_stride=16)
    [prediction] = reader.predict([Example("What colour?", "The sail is white. " * 30 + TEXT)], options=short)
    assert reader.choose(prediction, options=short).text == "blue"


def test_an_async_reader_takes_it() -> None:
    async def ask() -> str:
        async with AsyncReader(fake_reader("blue")) as reader:
            return (await reader.ask("What colour?", TEXT)).text

    assert asyncio.run(ask()) == "blue"


def test_a_fake_session_is_a_session_and_remembers_its_batches() -> None:
    session: Session = FakeSession(lambda ids: (np.ones(ids.shape, np.float32), np.zeros(ids.shape, np.float32)))
    ids = np.array([[1, 2, 3]])
    start, end = session.run({"input_ids": ids})
    assert (start.tolist(), end.tolist()) == ([[1, 1, 1]], [[0, 0, 0]])
    assert isinstance(session, FakeSession)
    assert session.batches == [{"input_ids": ids}]


@pytest.mark.parametrize("padding", [0, 5])
def test_the_waves_of_a_row_do_not_depend_on_its_batch(padding: int) -> None:
    ids = np.arange(6).reshape(2, 3)
    alone = np.stack(wave_logits(ids[1:]))
    together = np.stack(wave_logits(np.pad(ids, ((0, 0), (0, padding)))))
    np.testing.assert_array_equal(together[:, 1:, :3], alone)
    assert alone.dtype == np.float32
