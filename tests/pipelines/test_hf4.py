"""compat="hf4" gives what transformers 4.57.6 gave: its stored results, and its rules written out plainly."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from qa_onnx import EngineError, Example, InputError, Options, QuestionAnsweringPipeline, Reader, pipeline
from tests.conftest import TINY_TOKENIZER, FakeSession

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Windower
    from qa_onnx.spans import WindowLogits

QUESTION = "Who saw the boat?"
SENTENCE = "The keeper saw the boat, and the lighthouse-keeper's boat came home unharmed. "


@pytest.fixture(scope="module")
def fake(windower: Windower) -> Reader:
    return Reader(session=FakeSession(), windower=windower, options=Options.for_windows_of(64), max_positions=128)


@pytest.fixture(scope="module")
def old(fake: Reader) -> QuestionAnsweringPipeline:
    return pipeline(model=fake, compat="hf4")


@pytest.fixture(scope="module")
def parity(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> QuestionAnsweringPipeline:
    """Of the checkpoint that the stored results are from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return pipeline("question-answering", str(shared / "models" / "minilm-squad"), compat="hf4")


@pytest.mark.export
@pytest.mark.slow
def test_all_stored_results_of_transformers_are_given_again(
    shared: Path, parity: QuestionAnsweringPipeline
) -> None:
    stored = json.loads(gzip.decompress((shared / "golden" / "hf4-pipeline.json.gz").read_bytes()))["cases"]
    assert len(stored) == 76
    for case in stored:
        found = parity(question=case["question"], context=case["context"], **case["arguments"])
        assert isinstance(found, dict) is isinstance(case["result"], dict), case
        for ours, theirs in zip(as_list(found), as_list(case["result"]), strict=True):
            assert ours == {**theirs, "score": pytest.approx(theirs["score"], abs=1e-4)}, case


def as_list(found: Any) -> list[dict[str, Any]]:
    return [found] if isinstance(found, dict) else list(found)


def by_the_rules(
    rows: list[WindowLogits], *, top_k: int, max_answer_len: int, align_to_words: bool
) -> list[dict[str, Any]]:
    """The results, with every span of every window looked at."""
    count = 2 * top_k + 10 if align_to_words else top_k
    answers: dict[str, dict[str, Any]] = {}
    library = Tokenizer.from_file(str(TINY_TOKENIZER))
    library.no_truncation()
    for window, start_logits, end_logits in rows:
        encoding, shift = library.encode(window.context.text, add_special_tokens=False), window.token_offset
        part = [window.cls, *range(window.first, window.last + 1)]
        start, end = (np.exp(logits[part].astype(np.float64)) for logits in (start_logits, end_logits))
        start, end = start / start.sum(), end / end.sum()
        length = len(part) - 1
        spans = [
            (start[i + 1] * end[j + 1], i, j)
            for i in range(length)
            for j in range(i, min(length, i + max_answer_len))
        ]
        for score, i, j in sorted(spans, reverse=True)[:count]:
            first, last = i, j
            if align_to_words:
                words = [encoding.token_to_word(shift + at) for at in range(length)]
                first = words.index(words[i])
                last = length - 1 - words[::-1].index(words[j])
            begin, stop = encoding.offsets[shift + first][0], encoding.offsets[shift + last][1]
            text = window.context.text[begin:stop]
            row = answers.setdefault(text.lower(), {"score": 0.0, "start": begin, "end": stop, "answer": text})
            row["score"] += score
    return sorted(answers.values(), key=lambda row: -row["score"])[:top_k]


@pytest.mark.parametrize("sentences", [1, 7])
@pytest.mark.parametrize("top_k", [2, 9])
@pytest.mark.parametrize("max_answer_len", [1, 6])
@pytest.mark.parametrize("align_to_words", [False, True])
def test_results_follow_the_rules(
    fake: Reader,
    old: QuestionAnsweringPipeline,
    sentences: int,
    top_k: int,
    max_answer_len: int,
    align_to_words: bool,
) -> None:
    context = SENTENCE * sentences
    chosen: dict[str, Any] = {
        "top_k": top_k,
        "max_answer_len": max_answer_len,
        "align_to_words": align_to_words,
    }
    length = 48 if sentences > 1 else 128
    found = old(question=QUESTION, context=context, max_seq_len=length, doc_stride=12, **chosen)
    options = Options(max_length=length, doc_stride=12, max_question_length=None)
    rows = list(fake.logits([Example(QUESTION, context)], options=options))
    assert (len(rows) > 1) is (sentences > 1)
    expected = by_the_rules(rows, **chosen)
    assert [{**row, "score": 0} for row in found] == [{**row, "score": 0} for row in expected]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=1e-5)


def test_no_answer_scores_the_least_product_at_cls(fake: Reader, old: QuestionAnsweringPipeline) -> None:
    arguments: dict[str, Any] = {"max_seq_len": 48, "doc_stride": 12, "top_k": 200}
    found = old(question=QUESTION, context=SENTENCE * 7, handle_impossible_answer=True, **arguments)
    (null,) = [row for row in found if not row["answer"]]
    options = Options(max_length=48, doc_stride=12, max_question_length=None)
    products = []
    for window, *logits in fake.logits([Example(QUESTION, SENTENCE * 7)], options=options):
        part = [window.cls, *range(window.first, window.last + 1)]
        start, end = (np.exp(one[part]) / np.exp(one[part]).sum() for one in logits)
        products.append(float(start[0] * end[0]))
    assert len(products) > 1
    assert null == {"score": pytest.approx(min(products), rel=1e-4), "start": 0, "end": 0, "answer": ""}


def test_more_results_than_there_are_brings_empty_ones_of_score_zero(old: QuestionAnsweringPipeline) -> None:
    found = old(question=QUESTION, context="boat", top_k=5)
    assert [row["answer"] for row in found] == ["boat", ""]
    assert [row["score"] > 0 for row in found] == [True, False]
    pieces = old(question=QUESTION, context="boat", top_k=20, align_to_words=False)
    assert [row["answer"] for row in pieces if row["score"] == 0] == [""]


def test_a_question_is_never_cut(fake: Reader, old: QuestionAnsweringPipeline) -> None:
    question = "Who saw the boat that came home " * 8
    with pytest.raises(InputError, match=r"the question leaves .* tokens of context a window"):
        old(question=question, context=SENTENCE * 9)
    short = old(question=question, context="The boat.", max_question_len=3)
    assert short == old(question=question, context="The boat.")
    assert short != old(question=question[:30], context="The boat.")


def test_windows_are_no_longer_than_the_model_reads(fake: Reader, old: QuestionAnsweringPipeline) -> None:
    asked: dict[str, Any] = {"question": QUESTION, "context": SENTENCE * 20}
    assert old(**asked, max_seq_len=1000, doc_stride=64) == old(**asked)  # 128, with an overlap of 64
    with pytest.raises(InputError, match="doc_stride 128"):
        old(**asked, max_seq_len=1000)  # whose own overlap would be 128


def test_a_graph_that_overflows_is_an_error(windower: Windower) -> None:
    class Overflowing(FakeSession):
        def run(self, inputs: Any) -> Any:
            start, end = super().run(inputs)
            start[:, -2] = np.nan
            return start, end

    qa = pipeline(
        model=Reader(session=Overflowing(), windower=windower, options=Options.for_windows_of(64)), compat="hf4"
    )
    with pytest.raises(EngineError, match="infinite or not a number"):
        qa(question=QUESTION, context=SENTENCE)
