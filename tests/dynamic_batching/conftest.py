"""Async readers over fakes, each closed at the end of its test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from qa_onnx import AsyncReader, Reader, Windower
from qa_onnx.testing import FakeSession
from tests.dynamic_batching.fakes import Gate, TouchyWindower
from tests.test_reader import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx import Bundle


class Make(Protocol):
    """Makes an async reader of a session, with the arguments of `AsyncReader`."""

    def __call__(
        self, session: FakeSession | None = None, *, by: Windower | None = None, **arguments: Any
    ) -> AsyncReader: ...


@pytest.fixture
def make(windower: Windower) -> Iterator[Make]:
    """Readers with the options `SMALL`; gates are opened before they close."""
    made: list[AsyncReader] = []

    def make(session: FakeSession | None = None, *, by: Windower | None = None, **arguments: Any) -> AsyncReader:
        reader = Reader(session=session or FakeSession(), windower=by or windower, options=SMALL)
        made.append(AsyncReader(reader, **arguments))
        return made[-1]

    yield make
    for answering in made:
        session = answering.reader.steps.session
        if isinstance(session, Gate):
            session.let_run()
        asyncio.run(answering.close(drain=False))


@pytest.fixture(scope="session")
def fake_reader(windower: Windower) -> Reader:
    return Reader(session=FakeSession(), windower=windower, options=SMALL)


@pytest.fixture
def touchy_windower(tiny_bundle: Bundle) -> TouchyWindower:
    return TouchyWindower(tiny_bundle.text(tiny_bundle.manifest.tokenizer), cls_id=tiny_bundle.manifest.cls_id)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def gated(gate: Gate, make: Make) -> AsyncReader:
    """A reader whose engine waits to be let."""
    return make(gate, max_queue=8)
