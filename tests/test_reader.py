"""Reader: whole calls, with a fake session and with the tiny model."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import count, islice
from threading import Barrier, current_thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx import (
    Answer,
    Bundle,
    EngineError,
    Example,
    InputError,
    Options,
    Prediction,
    Reader,
    Windower,
    steps,
    testing,
)
from qa_onnx.testing import FakeSession, wave_logits
from tests import tiny
from tests.conftest import TINY, edit_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


SMALL = Options(max_length=40, doc_stride=8, max_question_length=16, n_best=5)
TEXT = (
    "The ferry to Nordholm leaves at half past six. It carries forty cars and the post. Captain Ilse Brandt has "
    "sailed it since 2003. In winter, ice may close the route, and then a small plane takes over."
)
EXAMPLES = [
    Example("When does the ferry leave?", TEXT),
    Example("Who is the captain?", TEXT.split(". ")[2]),
    Example("Why?", ""),
    Example("What closes the route in some winters, and what takes over?", TEXT * 2),
    Example("Where?", "🚢 Nordholm"),
    Example("When does the ferry leave?", TEXT),
]


@pytest.fixture(scope="module")
def fake_reader(windower: Windower) -> Reader:
    return Reader(session=FakeSession(), windower=windower, options=SMALL)


@pytest.fixture(scope="module", params=["fake", "tiny"])
def any_reader(request: pytest.FixtureRequest, fake_reader: Reader, tiny_reader: Reader) -> Reader:
    return {"fake": fake_reader, "tiny": tiny_reader}[request.param]


def assert_alike(found: list[Prediction], expected: list[Prediction]) -> None:
    """The same spans, and scores but for rounding."""
    for one, other in zip(found, expected, strict=True):
        assert [(a.start, a.end) for a in one.answers] == [(a.start, a.end) for a in other.answers]
        assert [a.score for a in one.answers] == pytest.approx([a.score for a in other.answers], abs=1e-5)
        assert [a.probability for a in one.answers] == pytest.approx(
            [a.probability for a in other.answers], abs=1e-5
        )
        assert one.null_score == pytest.approx(other.null_score, abs=1e-5)
        assert one.warnings == other.warnings


# ---- calls


def test_ask_is_predict_of_one(any_reader: Reader) -> None:
    example = EXAMPLES[0]
    [prediction] = any_reader.predict([example], options=SMALL)
    assert any_reader.ask(example.question, example.context, options=SMALL) == prediction.answers[0]


def test_predictions_come_in_the_order_of_the_examples(any_reader: Reader) -> None:
    together = any_reader.predict(EXAMPLES, options=SMALL)
    alone = [any_reader.predict([example], options=SMALL)[0] for example in EXAMPLES]
    assert_alike(together, alone)
    assert len(set(together)) == len(set(EXAMPLES))
    assert any_reader.predict([]) == []
    assert list(any_reader.logits([])) == []


@pytest.mark.parametrize("batch_tokens", [1, 64, 200, 100_000])
def test_batch_mates_their_order_and_the_budget_change_nothing(
    any_reader: Reader, monkeypatch: pytest.MonkeyPatch, batch_tokens: int
) -> None:
    expected = any_reader.predict(EXAMPLES, options=SMALL)
    mates = [Example("Who?", "word " * length) for length in (3, 30, 100)]
    monkeypatch.setattr(type(any_reader.steps.session), "run_overhead", 1 << 30)  # short ones beside long ones
    options = replace(SMALL, batch_tokens=batch_tokens)
    mixed = any_reader.predict([*mates, *reversed(EXAMPLES), *mates], options=options)
    assert_alike(mixed[3:-3], expected[::-1])


class Freeing(FakeSession):
    """As if on a GPU; it knows the threads that it ran in."""

    leaves_cpu_idle = True

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.threads.add(current_thread().name)
        return super().run(inputs)


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_runs_beside_the_hosts_work_change_nothing(
    fake_reader: Reader, windower: Windower, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(steps, "_PORTION_EXAMPLES", size)
    session = Freeing()
    freeing = Reader(session=session, windower=windower, options=SMALL)
    assert freeing.predict(EXAMPLES) == fake_reader.predict(EXAMPLES)
    expected = list(fake_reader.logits(EXAMPLES))
    for found, other in zip(freeing.logits(EXAMPLES), expected, strict=True):
        assert found[0].example == other[0].example
        np.testing.assert_array_equal(np.stack(found[1:]), np.stack(other[1:]))
    here = {current_thread().name}
    assert (session.threads == here) == (size == 100)
    session.threads.clear()
    freeing.ask("a", TEXT)
    assert session.threads == here, "a single question has no thread to wait for"


def test_options_of_a_call_leave_those_of_the_reader(fake_reader: Reader) -> None:
    before = fake_reader.predict(EXAMPLES)
    fake_reader.predict(EXAMPLES, options=replace(SMALL, n_best=1, max_answer_length=2))
    assert fake_reader.predict(EXAMPLES) == before
    assert len(before[0].answers) == 5


def test_max_answer_length_counts_tokens(fake_reader: Reader) -> None:
    context = "the a the a the a the"
    [prediction] = fake_reader.predict(
        [Example("a", context)], options=replace(SMALL, max_answer_length=2, n_best=99, overlapping=True)
    )
    assert {len(answer.text.split()) for answer in prediction.answers} == {1, 2}
    assert len(prediction.answers) == 7 + 6


@pytest.mark.parametrize("blank", ["", "   ", "\r\n\t", "\x00"])
def test_a_blank_context_has_no_answer_and_the_null_score_is_all(any_reader: Reader, blank: str) -> None:
    [prediction] = any_reader.predict([Example("Where?", blank)])
    assert prediction.answers == ()
    assert math.isfinite(prediction.null_score)
    assert prediction.null_probability == pytest.approx(1.0)
    assert prediction.warnings == ("the context is empty",)
    answer = any_reader.ask("Where?", blank, options=replace(SMALL, null_threshold=None))
    assert answer == Answer("", 0, 0, prediction.null_score, prediction.null_probability)
    assert not answer


# ---- streams


def test_predict_iter_reads_an_endless_stream_only_as_far_as_needed(fake_reader: Reader) -> None:
    taken = 0

    def stream() -> Iterator[Example]:
        nonlocal taken
        for number in count():
            taken += 1
            yield Example("a", f"the number {number}")

    predictions = fake_reader.predict_iter(stream())
    assert taken == 0
    first = list(islice(predictions, 3))
    assert taken <= 513
    assert first == fake_reader.predict(islice(stream(), 3))


def test_long_contexts_are_not_gathered(fake_reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_PORTION_CHARACTERS", 300)
    taken: list[int] = []

    def stream() -> Iterator[Example]:
        for number in range(9):
            taken.append(number)
            yield Example("a", "the " * 30)  # 121 characters

    predictions = fake_reader.predict_iter(stream())
    next(predictions)
    assert taken == [0, 1, 2]
    assert len(list(predictions)) == 8


def test_logits_are_those_of_the_session_without_padding_numbered_in_order(fake_reader: Reader) -> None:
    examples = [Example("a", "word " * (number % 50)) for number in range(1100)]
    order = []
    for window, *logits in fake_reader.logits(examples):
        expected = FakeSession().run({"input_ids": window.input_ids[None]})
        assert [side.tolist() for side in logits] == [side[0].tolist() for side in expected]
        assert window.context.text == examples[window.example].context
        order.append((window.example, window.token_offset))
    assert order == sorted(set(order))
    assert {example for example, _ in order} == set(range(1100))


# ---- answers


def assert_readable(context: str, prediction: Prediction) -> None:
    for answer in prediction.answers:
        assert context[answer.start : answer.end] == answer.text
        assert answer.text.strip() == answer.text != ""
        assert 0.0 <= answer.probability <= 1.0
    runtime = [(answer.start, answer.end) for answer in prediction.answers]
    assert len(set(runtime)) == len(runtime)
    scores = [answer.score for answer in prediction.answers]
    assert scores == sorted(scores, reverse=True)
    assert 0.0 <= prediction.null_probability <= 1.0


ANY_TEXT = st.text(st.characters(), max_size=60)  # surrogates too


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "mpnet", "deberta-v2"])
@settings(max_examples=50)
@given(data=st.data())
def test_answers_are_slices_of_any_context(kind: str, data: st.DataObject) -> None:
    reader = fake_reader_of(kind)
    context = data.draw(ANY_TEXT)
    [prediction] = reader.predict([Example(data.draw(ANY_TEXT), context)])
    assert_readable(context, prediction)
    if kind == "roberta":  # bytes are tokens
        assert bool(prediction.answers) is bool(context.strip())


@cache
def fake_reader_of(kind: str) -> Reader:
    return Reader(session=FakeSession(), windower=Windower(tiny._tokenizer(kind)[0].to_str()), options=SMALL)


@pytest.mark.parametrize(
    ("own", "asked", "answered"),
    [
        (None, "bundle", True),
        (1e9, "bundle", True),
        (-1e9, "bundle", False),
        (-1e9, None, True),
        (1e9, -1e9, False),
    ],
)
def test_a_null_threshold_of_the_options_goes_before_the_readers_own(
    windower: Windower, own: float | None, asked: Any, answered: bool
) -> None:
    calibrated = Reader(session=FakeSession(), windower=windower, options=SMALL, null_threshold=own)
    options = replace(SMALL, null_threshold=asked)
    assert bool(calibrated.ask(EXAMPLES[0].question, TEXT, options=options)) is answered
    [prediction] = calibrated.predict(EXAMPLES[:1], options=options)
    assert bool(calibrated.choose(prediction, options=options)) is answered


@pytest.mark.parametrize("n_best", [1, 4])
def test_probabilities_do_not_depend_on_how_many_are_asked_for(fake_reader: Reader, n_best: int) -> None:
    few = fake_reader.predict(EXAMPLES, options=replace(SMALL, n_best=n_best))
    many = fake_reader.predict(EXAMPLES, options=replace(SMALL, n_best=500))
    for one, other in zip(few, many, strict=True):
        assert one.answers == other.answers[:n_best]
        assert one.null_probability == other.null_probability


# ---- failures


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1], ids=["start", "end"])
def test_padding_has_the_pad_id_and_its_logits_alone_may_be_no_numbers(
    fake_reader: Reader, windower: Windower, bad: float, side: int
) -> None:
    pad_id = 1 << 20

    def reader(spoiled: int) -> Reader:
        def logits(ids: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            both = wave_logits(ids)
            both[side][ids == spoiled] = bad
            return both

        return Reader(session=FakeSession(logits), windower=windower, options=SMALL, pad_id=pad_id)

    padded = reader(pad_id)
    assert padded.predict(EXAMPLES) == fake_reader.predict(EXAMPLES)
    assert any((batch["input_ids"] == pad_id).any() for batch in padded.steps.session.batches)  # type: ignore[attr-defined]
    for token in next(fake_reader.logits(EXAMPLES[:1])).window.input_ids[[0, 1, -2]].tolist():
        with pytest.raises(EngineError, match="infinite or not a number: its precision overflows"):
            reader(token).predict(EXAMPLES[:1])


def test_windows_longer_than_the_model_reads_are_refused(tiny_reader: Reader) -> None:
    assert tiny_reader.ask("Where?", TEXT, options=replace(SMALL, max_length=128))
    options = replace(SMALL, max_length=129)
    for call in (
        lambda: tiny_reader.predict(EXAMPLES, options=options),
        lambda: list(tiny_reader.logits(EXAMPLES, options=options)),
        lambda: Reader.load(TINY, options=options),
    ):
        with pytest.raises(InputError, match="max_length is 129; this model reads at most 128 tokens"):
            call()


# ---- size and threads


def test_sixteen_threads_share_a_reader(any_reader: Reader) -> None:
    expected = [any_reader.predict([example], options=SMALL) for example in EXAMPLES]
    barrier = Barrier(16)

    def work(number: int) -> list[list[Prediction]]:
        barrier.wait()
        order = [(number + i) % len(EXAMPLES) for i in range(3 * len(EXAMPLES))]
        found = {at: any_reader.predict([EXAMPLES[at]], options=SMALL) for at in order}
        return [found[at] for at in range(len(EXAMPLES))]

    with ThreadPoolExecutor(16) as pool:
        for found in pool.map(work, range(16)):
            assert found == expected


def test_an_answer_at_the_end_of_a_book_is_found() -> None:
    context = "the footbridge hangs. " * 12_000 + "東 the end"
    answer = testing.fake_reader("東").ask("a", context)
    assert answer.start == context.index("東")
    assert context[answer.start : answer.end] == answer.text == "東"


# ---- loading


def test_a_reader_loads_from_a_path_a_text_or_a_bundle(tiny_bundle: Bundle) -> None:
    readers = [Reader.load(source, precision="fp32", threads=1) for source in (TINY, str(TINY), tiny_bundle)]
    answers = [loaded.ask("Where?", TEXT) for loaded in readers]
    assert answers[0] == answers[1] == answers[2]
    assert readers[0].options == Options(max_length=64, doc_stride=21, max_question_length=21)
    assert Reader.load(TINY, threads=1).precision == "int8"


def keep_only(folder: Path, precision: str, *, name: str | None = None, engines: list[str] | None = None) -> None:
    """Leave one graph in a bundle, under another precision's name or for other engines."""

    def change(content: dict[str, Any]) -> None:
        graph = content["graphs"][precision]
        content["graphs"] = {name or precision: {**graph, "engines": engines or graph["engines"]}}

    edit_manifest(folder, change)


def test_a_bundle_of_fp16_alone_is_read_on_the_cpu_where_it_says_so(tiny_copy: Path) -> None:
    keep_only(tiny_copy, "fp32", name="fp16")
    assert Reader.load(tiny_copy, threads=1).ask("Where?", TEXT)


@pytest.mark.parametrize(("device", "other"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_graph_for_the_other_device_is_refused(tiny_copy: Path, device: Any, other: str) -> None:
    keep_only(tiny_copy, "fp32", name="fp16", engines=[f"onnxruntime/{other}"])
    nothing = f"holds fp16, none of which runs on onnxruntime/{device}: qa-onnx export CHECKPOINT --to"
    with pytest.raises(EngineError, match=nothing):
        Reader.load(tiny_copy, device=device)
    with pytest.raises(EngineError, match=f"runs on onnxruntime/{other}, not on onnxruntime/{device}: choose"):
        Reader.load(tiny_copy, device=device, precision="fp16")


@pytest.mark.parametrize(
    "names", [["input_ids"], ["input_ids", "attention_mask", "token_type_ids", "position_ids"]]
)
def test_a_graph_whose_inputs_differ_from_the_manifest_is_refused(tiny_copy: Path, names: list[str]) -> None:
    edit_manifest(tiny_copy, lambda content: content.update(inputs=names))
    with pytest.raises(EngineError, match=f"its bundle says {', '.join(names)}: export it again"):
        Reader.load(tiny_copy)


def test_threshold_temperature_and_pad_id_come_from_the_bundle(tiny_copy: Path, tiny_reader: Reader) -> None:
    edit_manifest(tiny_copy, lambda content: content.update(null_threshold=-1e9, temperature=2.0, pad_id=9))
    loaded = Reader.load(tiny_copy, precision="fp32", threads=1)
    assert loaded.steps.pad_id == 9
    assert not loaded.ask("Where?", TEXT)
    assert loaded.ask("Where?", TEXT, options=replace(loaded.options, null_threshold=None))
    [warm], [cold] = (one.predict([Example("Where?", TEXT)]) for one in (loaded, tiny_reader))
    assert warm.answers[0].score == cold.answers[0].score
    assert warm.answers[0].probability != cold.answers[0].probability
    options = replace(tiny_reader.options, overlapping=True)  # the plain softmax, whatever the bundle
    assert loaded.predict([Example("Where?", TEXT)], options=options) == tiny_reader.predict(
        [Example("Where?", TEXT)], options=options
    )


def test_examples_may_be_tuples_and_dicts(fake_reader: Reader) -> None:
    example = EXAMPLES[0]
    row = {"id": 7, "title": "Ferries", "question": example.question, "context": example.context, "answers": []}
    forms = [example, (example.question, example.context), [example.question, example.context], row]
    found = fake_reader.predict(forms)  # type: ignore[arg-type]  # a list of two texts is as good as a tuple
    assert found == fake_reader.predict([example]) * 4


@pytest.mark.parametrize("bad", ["Why?", None, ("Why?",), ("a", "b", "c"), {"question": "Why?"}])
def test_what_is_no_example_is_refused_with_what_is_one(fake_reader: Reader, bad: Any) -> None:
    with pytest.raises(InputError, match=rf"tuple \(question, context\), or a dict .* got {type(bad).__name__} "):
        fake_reader.predict([bad])


def test_options_in_the_wrong_place_are_refused_with_the_right_one(fake_reader: Reader) -> None:
    with pytest.raises(InputError, match="it must be of type Options, or None"):
        fake_reader.ask("q", "c", options={"n_best": 3})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"n_best: reader\.predict\(.*\.replace\(reader\.options, n_best=3\)"):
        fake_reader.ask("q", "c", n_best=3)
    with pytest.raises(InputError, match=r"no null_threshold: pass options=.*null_threshold=None\)"):
        fake_reader.ask("q", "c", null_threshold=None)
    with pytest.raises(TypeError, match="unexpected keyword argument 'top_k'"):
        fake_reader.ask("q", "c", top_k=3)


@pytest.mark.parametrize("temperature", [0, -1.0, 1e-320, 1e308, math.nan, True, "1"])
def test_a_temperature_that_no_probability_can_come_of_is_refused(windower: Windower, temperature: Any) -> None:
    with pytest.raises(InputError, match=r"^temperature is .*; it must be a number from 0\.001 to 1000\.0$"):
        Reader(session=FakeSession(wave_logits), windower=windower, options=SMALL, temperature=temperature)


def test_answers_take_in_whole_words_unless_they_are_not_to(any_reader: Reader) -> None:
    def cut_words(*, align_to_words: bool) -> int:
        options = replace(SMALL, n_best=20, overlapping=True, align_to_words=align_to_words)
        found = any_reader.predict(EXAMPLES, options=options)
        assert len(found[0].answers) == 20
        edges = [
            example.context[edge - 1 : edge + 1]
            for example, prediction in zip(EXAMPLES, found, strict=True)
            for answer in prediction.answers
            for edge in (answer.start, answer.end)
            if edge > 0
        ]
        return sum(len(pair) == 2 and pair.isalnum() for pair in edges)

    assert cut_words(align_to_words=False) > 0
    assert cut_words(align_to_words=True) == 0
