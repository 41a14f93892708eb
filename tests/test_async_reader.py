"""AsyncReader: the answers of Reader.predict, for many tasks, threads and event loops at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from qa_onnx import (
    AsyncReader,
    ClosedError,
    DeadlineError,
    Example,
    Reader,
)

from .test_reader import EXAMPLES, SMALL, TEXT, assert_alike

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx import Prediction

MANY = [Example(f"{example.question} {number}", example.context) for number in range(20) for example in EXAMPLES]


@pytest.fixture(scope="module")
def reader(tiny_reader: Reader) -> Reader:
    return tiny_reader


def test_many_tasks_get_what_predict_gives(reader: Reader) -> None:
    async def ask() -> list[Prediction]:
        async with AsyncReader(reader) as answering:
            return await asyncio.gather(*(answering.predict(example, options=SMALL) for example in MANY))

    assert_alike(asyncio.run(ask()), reader.predict(MANY, options=SMALL))


def test_ask_is_the_readers(reader: Reader) -> None:
    async def ask() -> None:
        async with AsyncReader(reader) as answering:
            for example in EXAMPLES:
                found = await answering.ask(example.question, example.context, options=SMALL)
                expected = reader.ask(example.question, example.context, options=SMALL)
                assert (found.text, found.start, found.end) == (expected.text, expected.start, expected.end)

    asyncio.run(ask())


def test_predict_many_keeps_the_order_and_reads_no_further_than_in_flight(reader: Reader) -> None:
    taken = yielded = 0

    def stream() -> Iterator[Example]:
        nonlocal taken
        for example in MANY:
            taken += 1
            yield example

    async def ask() -> list[Prediction]:
        nonlocal yielded
        found = []
        async with AsyncReader(reader) as answering:
            async for prediction in answering.predict_many(stream(), options=SMALL, in_flight=5):
                assert taken - yielded <= 6
                yielded += 1
                found.append(prediction)
        return found

    assert_alike(asyncio.run(ask()), reader.predict(MANY, options=SMALL))


def test_a_closed_reader_says_so(reader: Reader) -> None:
    async def ask() -> None:
        answering = AsyncReader(reader)
        await answering.close()
        with pytest.raises(ClosedError, match="is closed and takes no more questions"):
            await answering.ask("Who?", TEXT)
        await answering.close()

    asyncio.run(ask())


def test_what_takes_too_long_fails_with_a_deadline_error(reader: Reader) -> None:
    async def ask() -> None:
        async with AsyncReader(reader) as answering:
            with pytest.raises(DeadlineError, match=r"no answer within timeout_s = 0\.001"):
                await answering.ask("Who?", TEXT * 500, options=SMALL, timeout_s=0.001)
            assert await answering.ask("Who?", TEXT, options=SMALL, timeout_s=60)

    asyncio.run(ask())
