"""The public API raises nothing but QaOnnxError for values of any type."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qa_onnx
from qa_onnx import AsyncReader, Bundle, Example, Options, QaOnnxError, Reader, Windower, pipeline
from qa_onnx.answers import Prediction
from qa_onnx.data import squad
from qa_onnx.testing import fake_reader
from tests.conftest import TINY

# fmt: off
ODD: list[Any] = [
    None, 0, -1, 1.5, 10**5000, float("nan"), float("inf"), True, "", "x", "\ud800", "a\0b", "x" * 100_000,
    b"bytes", (), [], {}, [1], {"a": 1}, object(), type, len, np.zeros(3), 1j, Example("q", "c"), Options(),
]
# fmt: on
READER = fake_reader("blue")
PREDICTION = READER.predict([("What?", "The boat is blue.")])[0]
BUNDLE = Bundle.load(TINY)
ANY = st.sampled_from(range(len(ODD))).map(lambda index: ODD[index]) | st.text() | st.integers() | st.floats()


def submit(value: Any, **named: Any) -> object:
    async def work() -> object:
        async with AsyncReader(READER) as reader:
            reader.choose(PREDICTION)
            return await reader.predict(value, **named)

    return asyncio.run(work())


CALLS: dict[str, Any] = {
    "Bundle.load": Bundle.load,
    "Bundle.load revision": lambda value: Bundle.load(TINY, revision=value),
    "Bundle.graph": BUNDLE.graph,
    "Reader.load": Reader.load,
    **{
        f"Reader.load {name}": lambda value, name=name: Reader.load(TINY, **{name: value})
        for name in ("precision", "device", "engine", "threads", "options", "min_f1", "allow_fallback")
    },
    **{f"Options {name}": lambda value, name=name: Options(**{name: value}) for name in Options.__slots__},
    "Options.for_windows_of": Options.for_windows_of,
    **{
        f"Reader {name}": lambda value, name=name: Reader(
            session=READER.steps.session, windower=READER.steps.windower, **{name: value}
        )
        for name in ("pad_id", "options", "max_positions", "null_threshold", "temperature")
    },
    "ask question": lambda value: READER.ask(value, "The boat is blue."),
    "ask context": lambda value: READER.ask("What?", value),
    "ask options": lambda value: READER.ask("What?", "It is.", options=value),
    "predict": READER.predict,
    "predict one": lambda value: READER.predict([value]),
    "predict_iter": lambda value: list(READER.predict_iter(value)),
    "logits": lambda value: list(READER.logits(value)),
    "choose": READER.choose,
    "choose options": lambda value: READER.choose(PREDICTION, options=value),
    "Prediction.choose": PREDICTION.choose,
    "Example question": lambda value: Example(value, "x"),
    "Example context": lambda value: Example("x", value),
    "Windower": Windower,
    "AsyncReader": AsyncReader,
    **{
        f"AsyncReader {name}": lambda value, name=name: AsyncReader(READER, **{name: value})
        for name in ("max_batch_tokens", "max_wait_ms", "max_queue", "workers")
    },
    "AsyncReader.predict": submit,
    "AsyncReader options": lambda value: submit(("What?", "It is."), options=value),
    "pipeline task": lambda value: pipeline(value, READER),
    "pipeline compat": lambda value: pipeline(None, READER, compat=value),
    "squad.load": squad.load,
    "squad.load limit": lambda value: squad.load(TINY / "bundle.json", limit=value),
}


def try_it(name: str, value: Any) -> None:
    with contextlib.suppress(QaOnnxError):
        CALLS[name](value)


@pytest.mark.parametrize("name", CALLS)
def test_wrong_values_raise_errors_of_the_package(name: str) -> None:
    for value in ODD:
        try_it(name, value)


CHEAP = [
    name for name in CALLS if name.startswith(("Options", "Example", "Prediction", "choose", "ask", "predict"))
]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(CHEAP), ANY)
def test_any_values_raise_errors_of_the_package(name: str, value: Any) -> None:
    try_it(name, value)


def test_the_table_names_what_is_public() -> None:
    classes = {"Bundle", "Reader", "Options", "Example", "Windower", "AsyncReader", "Prediction", "pipeline"}
    assert classes <= set(qa_onnx.__all__)
    assert isinstance(PREDICTION, Prediction)
    assert {call.partition(" ")[0].partition(".")[0] for call in CALLS} >= classes
