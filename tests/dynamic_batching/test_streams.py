"""AsyncReader.predict_many: a stream of examples in, their predictions out in the same order."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import AsyncReader, EngineError, Example, InputError, Prediction, Reader, Windower
from tests.dynamic_batching.fakes import PATIENCE_S, SHORT, Gate, Touchy, at_rest
from tests.test_reader import EXAMPLES, SMALL, assert_alike

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.dynamic_batching.conftest import Make


async def all_of(stream: AsyncIterator[Prediction]) -> list[Prediction]:
    return [prediction async for prediction in stream]


def test_predictions_come_in_order_and_no_more_than_in_flight_is_read(tiny_reader: Reader) -> None:
    examples = [
        Example(f"{example.question} {number}", example.context) for number in range(9) for example in EXAMPLES
    ]
    taken = yielded = 0

    def stream() -> Iterator[Example]:
        nonlocal taken
        for example in examples:
            taken += 1
            yield example

    async def ask() -> list[Prediction]:
        nonlocal yielded
        found = []
        async with AsyncReader(tiny_reader) as answering:
            async for prediction in answering.predict_many(stream(), options=SMALL, in_flight=5):
                assert taken - yielded <= 5
                yielded += 1
                found.append(prediction)
        return found

    assert_alike(asyncio.run(ask()), tiny_reader.predict(examples, options=SMALL))


def test_it_waits_for_room_where_others_fill_the_queue(fake_reader: Reader) -> None:
    async def ask() -> list[list[Prediction]]:
        async with AsyncReader(fake_reader, max_queue=2) as answering:
            return await asyncio.gather(*(all_of(answering.predict_many(EXAMPLES)) for _ in range(2)))

    assert asyncio.run(ask()) == [fake_reader.predict(EXAMPLES)] * 2


def test_it_gives_what_it_has_while_its_source_is_silent(fake_reader: Reader) -> None:
    async def ask() -> None:
        more: asyncio.Queue[Example | None] = asyncio.Queue()

        async def source() -> AsyncIterator[Example]:
            while (example := await more.get()) is not None:
                yield example

        async with AsyncReader(fake_reader) as answering:
            stream = answering.predict_many(source())
            for example in EXAMPLES:
                more.put_nowait(example)
                async with asyncio.timeout(PATIENCE_S):
                    assert await anext(stream) == fake_reader.predict([example])[0]
            more.put_nowait(None)
            assert await all_of(stream) == []

    asyncio.run(ask())


def test_an_error_ends_it_where_it_belongs(windower: Windower, make: Make) -> None:
    answering = make(Touchy(windower, fatal="boat"))

    async def ask() -> None:
        stream = answering.predict_many([SHORT, SHORT, Example("boat", "the"), SHORT])
        assert (await anext(stream)).answers
        assert (await anext(stream)).answers
        with pytest.raises(EngineError):
            await anext(stream)
        assert at_rest(answering)

    asyncio.run(ask())


def failing() -> Iterator[Example]:
    yield SHORT
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("examples", "in_flight", "error", "message"),
    [
        ([SHORT, None, SHORT], 64, InputError, "an example must be"),
        ([], 0, InputError, "in_flight is 0"),
        (failing(), 64, ZeroDivisionError, "^$"),
    ],
    ids=["no example", "in_flight", "an error of the source"],
)
def test_what_cannot_be_read_is_an_error(
    make: Make, examples: Any, in_flight: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        asyncio.run(all_of(make().predict_many(examples, in_flight=in_flight)))


def test_a_stream_that_is_left_withdraws_what_waits(gate: Gate, gated: AsyncReader) -> None:
    async def ask() -> None:
        stream = gated.predict_many((SHORT for _ in count()), in_flight=4)
        taking = asyncio.create_task(all_of(stream))
        await asyncio.to_thread(gate.wait_for_a_batch)
        assert gated.depth > 0
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert at_rest(gated)

    asyncio.run(ask())
