"""The pipeline as people call it, on a fake session and on the tiny bundle."""

from __future__ import annotations

import dataclasses
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import Bundle, Example, InputError, Options, QuestionAnsweringPipeline, Reader, pipeline
from tests.conftest import FakeSession, edit_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Windower

QUESTION = "Who saw the boat?"
CONTEXT = "The boat sailed. The keeper saw the boat, and the boat came home with a keeper on board."
LONG = " ".join(f"{CONTEXT} Part {number} ended." for number in range(12))
BLANK = " \n "


@pytest.fixture(scope="module")
def fake(windower: Windower) -> Reader:
    return Reader(session=FakeSession(), windower=windower, options=Options.for_windows_of(64), max_positions=128)


@pytest.fixture(scope="module")
def qa(fake: Reader) -> QuestionAnsweringPipeline:
    return pipeline(model=fake)


@pytest.fixture(scope="module")
def old(fake: Reader) -> QuestionAnsweringPipeline:
    return pipeline("question-answering", fake, compat="hf4")


def rows(found: Any) -> list[dict[str, Any]]:
    assert isinstance(found, list)
    return found


@given(
    question=st.text(min_size=1, max_size=30),
    context=st.text(min_size=1, max_size=300),
    top_k=st.integers(2, 20),
    impossible=st.booleans(),
    align=st.booleans(),
)
def test_results_are_distinct_slices_with_probabilities_that_sum_to_at_most_one(
    qa: QuestionAnsweringPipeline, question: str, context: str, top_k: int, impossible: bool, align: bool
) -> None:
    arguments = {"handle_impossible_answer": impossible, "align_to_words": align}
    found = rows(qa(question=question, context=context, top_k=top_k, **arguments))
    assert len(found) <= top_k
    scores = [row["score"] for row in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert sum(scores) <= 1 + 1e-6
    assert all(context[row["start"] : row["end"]] == row["answer"] for row in found)
    assert len({(row["start"], row["end"]) for row in found}) == len(found)
    best = qa(question=question, context=context, **arguments)
    assert set(best) == {"score", "start", "end", "answer"}
    if found:
        assert best == found[0]


def test_the_results_are_those_of_the_reader(fake: Reader, qa: QuestionAnsweringPipeline) -> None:
    options = dataclasses.replace(fake.options, max_answer_length=15, n_best=4, overlapping=True)
    expected = fake.predict([qa_example(LONG)], options=options)[0].answers
    found = rows(qa(question=QUESTION, context=LONG, top_k=4))
    assert [(row["start"], row["end"], row["score"]) for row in found] == [
        (answer.start, answer.end, answer.probability) for answer in expected
    ]


def qa_example(context: str) -> Example:
    return Example(QUESTION, context)


def test_the_same_text_at_another_place_is_another_result(
    qa: QuestionAnsweringPipeline, old: QuestionAnsweringPipeline
) -> None:
    arguments: dict[str, Any] = {"question": QUESTION, "context": CONTEXT, "max_answer_len": 1, "top_k": 40}
    new_rows, old_rows = rows(qa(**arguments)), rows(old(**arguments))
    assert sum(row["answer"] == "boat" for row in new_rows) == CONTEXT.count("boat") == 3
    assert sum(row["answer"] == "boat" for row in old_rows) == 1


class SureSession(FakeSession):
    """Sure of one token, wherever it is."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self._token = token

    def run(self, inputs: Any) -> Any:
        logits = np.where(inputs["input_ids"] == self._token, 9, 0).astype(np.float32)
        return logits, logits.copy()


def test_a_text_in_many_windows_does_not_score_above_one(windower: Windower) -> None:
    options = Options.for_windows_of(64)
    (cut,) = windower.cut([Example("?", "boat")], options)
    token = int(cut.windows[0].input_ids[cut.windows[0].last])
    reader = Reader(session=SureSession(token), windower=windower, options=options)
    asked: dict[str, Any] = {"question": QUESTION, "context": LONG, "top_k": 5}
    best = rows(pipeline(model=reader, compat="hf4")(**asked))[0]
    assert (best["answer"], best["score"] > 1) == ("boat", True)
    found = rows(pipeline(model=reader)(**asked))
    assert found[0]["answer"] == "boat"
    assert sum(row["score"] for row in found) <= 1


def test_results_have_the_form_of_what_was_asked_and_not_its_number(qa: QuestionAnsweringPipeline) -> None:
    one = qa(question=QUESTION, context=CONTEXT)
    pair = {"question": QUESTION, "context": CONTEXT}
    assert isinstance(one, dict)
    assert qa(QUESTION, CONTEXT) == qa(pair) == qa(data=pair) == qa(X=pair) == one
    assert qa([pair]) == qa(question=[QUESTION], context=CONTEXT) == [one]
    assert qa(pair, pair) == qa({"question": [QUESTION] * 2, "context": [CONTEXT] * 2}) == [one, one]
    assert qa([]) == []
    assert qa(question=QUESTION, context="boat", top_k=5, max_answer_len=1) == [
        qa(question=QUESTION, context="boat", max_answer_len=1)
    ]
    assert [len(found) for found in qa([pair, pair], top_k=2)] == [2, 2]


def test_with_compat_what_is_alone_comes_without_its_list(old: QuestionAnsweringPipeline) -> None:
    one = old(question=QUESTION, context=CONTEXT)
    pair = {"question": QUESTION, "context": CONTEXT}
    assert old([pair]) == old(question=[QUESTION], context=CONTEXT) == one
    assert old({"question": [QUESTION], "context": [CONTEXT]}) == [one]
    assert list(old(iter([pair]))) == [one]
    assert old([pair, pair]) == [one, one]
    assert old([]) == []


@pytest.mark.parametrize("compat", [None, "hf4"])
def test_a_generator_is_answered_as_it_is_read(fake: Reader, compat: Any) -> None:
    qa = pipeline(model=fake, compat=compat)
    read = 0

    def pairs() -> Any:
        nonlocal read
        for _ in range(2000):
            read += 1
            yield {"question": QUESTION, "context": CONTEXT}

    found = qa(pairs())
    assert isinstance(found, GeneratorType)
    assert read == 0
    assert next(found) == qa(question=QUESTION, context=CONTEXT)
    assert read < 2000


def test_no_answer_is_a_result_where_it_is_allowed(qa: QuestionAnsweringPipeline, fake: Reader) -> None:
    found = rows(qa(question=QUESTION, context=CONTEXT, top_k=50, handle_impossible_answer=True))
    (null,) = [row for row in found if not row["answer"]]
    options = dataclasses.replace(fake.options, max_answer_length=15, n_best=50, align_to_words=True)
    assert null["score"] == fake.predict([qa_example(CONTEXT)], options=options)[0].null_probability
    assert all(row["answer"] for row in rows(qa(question=QUESTION, context=CONTEXT, top_k=50)))


@pytest.mark.parametrize(("threshold", "answered"), [(-1e6, False), (1e6, True)])
def test_no_answer_wins_as_the_bundle_was_calibrated(windower: Windower, threshold: float, answered: bool) -> None:
    options = Options.for_windows_of(64)
    reader = Reader(session=FakeSession(), windower=windower, options=options, null_threshold=threshold)
    qa = pipeline(model=reader, handle_impossible_answer=True)
    assert bool(qa(question=QUESTION, context=CONTEXT)["answer"]) is answered
    assert bool(rows(qa(question=QUESTION, context=CONTEXT, top_k=3))[0]["answer"]) is answered


def test_a_blank_context_has_no_answer(qa: QuestionAnsweringPipeline, old: QuestionAnsweringPipeline) -> None:
    found = qa(question=QUESTION, context=BLANK)
    assert (found["start"], found["end"], found["answer"]) == (0, 0, "")
    assert found["score"] == pytest.approx(1)  # it is sure of that
    assert qa(question=QUESTION, context=BLANK, top_k=3) == []
    assert old(question=QUESTION, context=BLANK) == {"score": 0.0, "start": 0, "end": 0, "answer": ""}


CHANGES: list[dict[str, Any]] = [
    {"max_answer_len": 1},
    {"max_seq_len": 40},
    {"doc_stride": 3},
    {"align_to_words": False},
    {"top_k": 2},
]


@pytest.mark.parametrize("compat", [None, "hf4"])
@pytest.mark.parametrize("change", [*CHANGES, {"max_question_len": 2}], ids=lambda change: next(iter(change)))
def test_an_argument_changes_results_in_the_call_and_in_the_pipeline(
    fake: Reader, change: dict[str, Any], compat: Any
) -> None:
    asked: dict[str, Any] = {"question": QUESTION, "context": LONG}
    plain = pipeline(model=fake, compat=compat, top_k=40)
    own = pipeline(model=fake, compat=compat, **{"top_k": 40, **change})
    assert plain(**asked, **change) == own(**asked)
    if compat and "max_question_len" in change:
        assert own(**asked) == plain(**asked)  # it had no effect, and has none
    else:
        assert own(**asked) != plain(**asked)


def test_the_call_wins_over_the_pipeline_and_none_means_the_pipelines(fake: Reader) -> None:
    qa = pipeline(model=fake, top_k=3)
    assert len(qa(question=QUESTION, context=CONTEXT, top_k=2)) == 2
    assert len(qa(question=QUESTION, context=CONTEXT, top_k=None)) == 3


@pytest.mark.parametrize("compat", [None, "hf4"])
def test_batch_size_bounds_a_batch_and_changes_no_result(windower: Windower, compat: Any) -> None:
    session = FakeSession()
    options = Options.for_windows_of(64)
    qa = pipeline(model=Reader(session=session, windower=windower, options=options), compat=compat)
    one = qa(question=QUESTION, context=LONG, top_k=3, batch_size=1, padding="max_length", num_workers=2)
    assert {len(batch["input_ids"]) for batch in session.batches} == {1}
    session.batches.clear()
    assert qa(question=QUESTION, context=LONG, top_k=3, batch_size=3) == one
    assert max(len(batch["input_ids"]) for batch in session.batches) == 3


def test_topk_still_works_and_says_that_it_is_old(qa: QuestionAnsweringPipeline, fake: Reader) -> None:
    expected = qa(question=QUESTION, context=CONTEXT, top_k=2)
    with pytest.warns(UserWarning, match="topk parameter is deprecated, use top_k instead"):
        assert qa(question=QUESTION, context=CONTEXT, topk=2) == expected
    with pytest.warns(UserWarning, match="topk"):
        assert len(pipeline(model=fake, topk=2)(question=QUESTION, context=CONTEXT)) == 2
    with pytest.warns(UserWarning, match="topk"):
        assert isinstance(qa(question=QUESTION, context=CONTEXT, topk=2, top_k=1), dict)


def test_an_unknown_compat_is_an_error(fake: Reader) -> None:
    compat: Any = "hf3"
    with pytest.raises(InputError, match="compat is 'hf3'; it must be None or 'hf4'"):
        pipeline(model=fake, compat=compat)


@pytest.mark.parametrize("device", [None, "cpu", -1])
def test_a_bundle_is_loaded_by_path_or_as_it_is(tiny_bundle: Bundle, tiny_reader: Reader, device: object) -> None:
    expected = pipeline(model=tiny_reader)(question=QUESTION, context=CONTEXT)
    for model in (tiny_bundle, tiny_bundle.path, str(tiny_bundle.path)):
        qa = pipeline(None, model, tokenizer=model, device=device, precision="fp32", threads=1)
        assert qa(question=QUESTION, context=CONTEXT) == expected


def test_compat_takes_fp32_of_a_bundle_and_says_where_there_is_none(tiny_copy: Path, tiny_reader: Reader) -> None:
    expected = pipeline(model=tiny_reader, compat="hf4")(question=QUESTION, context=CONTEXT)
    found = pipeline(model=tiny_copy, compat="hf4", threads=1)
    assert found(question=QUESTION, context=CONTEXT) == expected
    edit_manifest(tiny_copy, lambda content: content["graphs"].pop("fp32"))
    with pytest.warns(RuntimeWarning, match="holds int8, so scores are not exactly those") as caught:
        pipeline(model=tiny_copy, compat="hf4")
    assert caught[0].filename == __file__
    pipeline(model=tiny_copy, compat="hf4", precision="int8")  # asked for: no warning
