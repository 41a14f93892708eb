"""What `repr` tells of a reader and its results, and what closing one frees."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import Answer, AsyncReader, Bundle, ClosedError, Example, Prediction, Reader, pipeline
from qa_onnx.testing import fake_reader
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Iterator

BOAT = ("What colour is the boat?", "The boat is blue.")


@pytest.fixture
def reader() -> Reader:
    return Reader.load(TINY, threads=1)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_a_loaded_reader_tells_bundle_precision_backend_and_threads(reader: Reader) -> None:
    name = Bundle.load(TINY).manifest.source.name
    assert (
        repr(reader)
        == f"Reader(bundle={name!r}, precision={reader.precision}, backend={reader.backend}, threads=1)"
    )
    reader.close()
    assert repr(reader).endswith(", threads=1, closed)")


def test_threads_that_nobody_set_are_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qa_onnx.machine.cpu.default_threads", lambda: 3)
    assert repr(Reader.load(TINY, engine="onnxruntime")).endswith("backend=onnxruntime/cpu, threads=3)")


def test_a_reader_made_of_parts_tells_its_session() -> None:
    assert repr(fake_reader("blue")) == "Reader(session=FakeSession)"


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (Answer("Ida", 7, 10, 5.0, 0.98765), "Answer('Ida', 7-10, probability=0.988)"),
        (Answer("Ida", 7, 10, 5.0, 0.5, sure=False), "Answer('Ida', 7-10, probability=0.5, unsure)"),
        (Answer("", 0, 0, 5.0, 1e-7), "Answer(none, probability=1e-07)"),
        (Answer("a\nb\x1b", 0, 4, 5.0, 1.0), r"Answer('a\nb\x1b', 0-4, probability=1)"),
    ],
)
def test_an_answer_tells_text_place_and_probability(answer: Answer, shown: str) -> None:
    assert repr(answer) == str(answer) == shown


def test_long_texts_are_shortened() -> None:
    answer = Answer("word " * 10_000, 0, 50_000, 1.0, 0.5)
    assert len(repr(answer)) < 130
    assert len(repr(Prediction((answer,) * 100, 0.0, 0.1))) < 200


def test_a_prediction_tells_its_best_answer() -> None:
    answers = (Answer("Ida", 7, 10, 5.0, 0.9), Answer("Bo", 0, 2, 1.0, 0.05))
    assert repr(Prediction(answers, 0.0, 0.03, ("cut",))) == (
        "Prediction(2 answers, best=Answer('Ida', 7-10, probability=0.9), null_probability=0.03, 1 warnings)"
    )
    assert repr(Prediction((), 0.0, 1.0)) == "Prediction(0 answers, null_probability=1)"


def test_a_bundle_tells_path_model_and_precisions() -> None:
    bundle = Bundle.load(TINY)
    name, graphs = bundle.manifest.source.name, ", ".join(bundle.manifest.graphs)
    assert repr(bundle) == f"Bundle('{TINY}': {name}, {graphs})"


def test_an_async_reader_tells_its_reader_and_starts_nothing() -> None:
    async def use() -> list[str]:
        before = threading.active_count()
        shown = [repr(asking := AsyncReader(fake_reader("blue")))]
        assert threading.active_count() == before
        await asking.ask(*BOAT)
        shown.append(repr(asking))
        await asking.close()
        return [*shown, repr(asking)]

    inner = "AsyncReader(Reader(session=FakeSession)"
    assert asyncio.run(use()) == [f"{inner})", f"{inner}, depth=0)", f"{inner}, depth=0, closed)"]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_closing_frees_the_model_at_once(engine: Any) -> None:
    pytest.importorskip(engine, reason=f"needs {engine}")
    reader = Reader.load(engine=engine, precision="fp32", threads=1)
    reader.ask(*BOAT)
    model = weakref.ref(reader.steps.session._opened.get()[0])  # type: ignore[attr-defined]
    assert model() is not None
    reader.close()
    assert model() is None


def test_a_closed_reader_says_so_and_closes_again(reader: Reader) -> None:
    [prediction] = reader.predict([BOAT])
    with reader as same:
        assert same is reader
        assert not reader.closed
    reader.close()
    assert reader.closed
    for call in (reader.ask, lambda *texts: reader.predict([texts]), lambda *texts: list(reader.logits([texts]))):
        with pytest.raises(ClosedError, match="this reader was closed: load another one"):
            call(*BOAT)
    assert reader.choose(prediction) == prediction.answers[0]  # which needs no model
    assert pickle.loads(pickle.dumps(reader)).predict([BOAT]) == [prediction]


def test_an_error_inside_of_the_block_closes_the_reader_too(reader: Reader) -> None:
    with pytest.raises(KeyError), reader:
        raise KeyError
    assert reader.closed


def test_what_goes_on_ends_as_usual(reader: Reader) -> None:
    expected = reader.predict([BOAT] * 1500)
    stream = reader.predict_iter([BOAT] * 1500)
    first = next(stream)
    reader.close()
    assert [first, *stream] == expected

    async def ask() -> Answer:
        async with AsyncReader(Reader.load(TINY, threads=1)) as asking:
            asking.reader.close()
            return await asking.ask(*BOAT)

    assert asyncio.run(ask()).text == expected[0].answers[0].text


def test_an_async_reader_on_a_closed_reader_raises() -> None:
    async def ask() -> None:
        reader = fake_reader("blue")
        reader.close()
        async with AsyncReader(reader) as asking:
            await asking.ask(*BOAT)

    with pytest.raises(ClosedError, match="this reader was closed"):
        asyncio.run(ask())


def test_a_pipeline_closes_the_reader_that_it_loaded_and_no_other(reader: Reader) -> None:
    with pipeline(model=str(TINY), engine="onnxruntime", threads=1) as asking:
        asking(question=BOAT[0], context=BOAT[1])
    assert asking.reader.closed
    assert repr(asking).endswith(", closed)")
    with pytest.raises(ClosedError):
        asking(question=BOAT[0], context=BOAT[1])
    with pipeline(model=reader) as other:
        assert repr(other) == f"QuestionAnsweringPipeline(model={reader!r})"
    assert not reader.closed


def test_no_public_object_has_a_repr_of_several_lines(reader: Reader) -> None:
    shown = [repr(Example(*BOAT)), repr(reader), repr(Bundle.load(TINY)), repr(pipeline(model=reader))]
    assert all("\n" not in text and len(text) < 250 for text in shown)
