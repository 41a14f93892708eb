"""The old call's forms become examples; what the old pipeline refused is refused, with the same kind of error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qa_onnx import Example, InputError
from qa_onnx.pipelines.inputs import Arguments, Inputs, read_inputs

PAIR = {"question": "Who?", "context": "Bob."}
OTHER = {"question": "Where?", "context": "Here."}
SQUAD = SimpleNamespace(question_text="Who?", context_text="Bob.", qas_id=None)
WHO, WHERE = Example("Who?", "Bob."), Example("Where?", "Here.")


def read(*given: object, question: object = None, context: object = None, data: object = None) -> Inputs:
    return read_inputs(given, question, context, data)


@pytest.mark.parametrize(
    ("given", "named", "form", "expected"),
    [
        ((), {"question": "Who?", "context": "Bob."}, "one", [WHO]),
        ((), {"question": ["Who?", "Where?"], "context": ["Bob.", "Here."]}, "many", [WHO, WHERE]),
        ((), {"question": ["Who?", "Where?"], "context": "Bob."}, "many", [WHO, Example("Where?", "Bob.")]),
        ((), {"question": [], "context": []}, "many", []),
        (("Who?", "Bob."), {}, "one", [WHO]),
        ((PAIR,), {}, "one", [WHO]),
        ((PAIR, OTHER), {}, "many", [WHO, WHERE]),
        (([PAIR],), {}, "many", [WHO]),
        (((PAIR, OTHER),), {}, "many", [WHO, WHERE]),
        (([SQUAD, WHERE],), {}, "many", [WHO, WHERE]),
        ((SQUAD,), {}, "one", [WHO]),
        ((WHO,), {}, "one", [WHO]),
        (({"question": ["Who?"], "context": ["Bob."]},), {}, "columns", [WHO]),
        (({"question": ["Who?"], "context": "Bob."},), {}, "columns", [WHO]),
        (({**PAIR, "id": "7", "answers": []},), {}, "one", [WHO]),
        ((), {"data": PAIR}, "one", [WHO]),
        ((), {"data": [PAIR, OTHER], "question": "ignored"}, "many", [WHO, WHERE]),
        ((PAIR,), {"data": OTHER}, "one", [WHO]),
        ((iter([PAIR, OTHER]),), {}, "stream", [WHO, WHERE]),
        ((), {"data": (pair for pair in [PAIR])}, "stream", [WHO]),
        ((iter([{"question": "Who?", "context": ""}]),), {}, "stream", [Example("Who?", "")]),
    ],
)
def test_every_form_of_the_old_call(
    given: tuple[object, ...], named: dict[str, Any], form: str, expected: list[Example]
) -> None:
    inputs = read(*given, **named)
    assert inputs.form == form
    assert list(inputs.examples) == expected


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        ((), {}, "no question: give question= and context="),
        ((), {"question": "Who?"}, "Arguments can't be understood: .*context is NoneType"),
        ((), {"question": None, "context": "Bob."}, "Arguments can't be understood"),
        ((), {"question": "Who?", "context": ["Bob.", "Eve."]}, "Arguments can't be understood: question is str"),
        ((), {"question": "Who?", "context": ("Bob.",)}, "Arguments can't be understood: question is str"),
        ((), {"question": ["Who?"], "context": ["Bob.", "Eve."]}, "don't have the same lengths: 1 and 2"),
        (({"question": ["Who?"], "context": []},), {}, "don't have the same lengths: 1 and 0"),
        ((), {"question": "", "context": "Bob."}, "`question` cannot be empty"),
        ((), {"question": "Who?", "context": ""}, "`context` cannot be empty"),
        (({"question": None, "context": "Bob."},), {}, "`question` cannot be None"),
        (({"question": "Who?", "context": None},), {}, "`context` cannot be None"),
        (({"question": "Who?", "context": 5},), {}, "the context must be a str, got int 5"),
        (("Who?",), {}, r"Invalid arguments: got str 'Who\?'"),
        (("Who?", "Bob.", "Eve."), {}, r"'Who\?' argument needs to be of type"),
        (([5],), {}, "5 argument needs to be of type"),
        ((5,), {}, "Invalid arguments: got int 5"),
    ],
)
def test_what_was_refused_is_refused_with_a_value_error(
    given: tuple[object, ...], named: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(*given, **named)
    assert isinstance(caught.value, InputError)


def test_a_missing_key_is_a_key_error_as_it_was_and_reads_well() -> None:
    with pytest.raises(KeyError) as caught:
        read({"question": "Who?"})
    assert isinstance(caught.value, InputError)
    assert str(caught.value) == (
        "You need to provide a dictionary with keys {question:..., context:...}, got the keys question"
    )


def test_a_bad_item_of_a_stream_is_found_when_it_is_read() -> None:
    examples = iter(read(iter([PAIR, {"question": "Where?"}])).examples)
    assert next(examples) == WHO
    with pytest.raises(KeyError):
        next(examples)


@pytest.mark.parametrize(
    ("name", "lowest"),
    [
        ("top_k", 1),
        ("doc_stride", 0),
        ("max_answer_len", 1),
        ("max_seq_len", 8),
        ("max_question_len", 1),
        ("batch_size", 1),
    ],
)
def test_a_number_out_of_range_is_refused_by_its_old_name(name: str, lowest: int) -> None:
    made: Any = Arguments
    assert getattr(made(**{name: lowest}), name) == lowest
    for value in (lowest - 1, 2.5, "3", True):
        with pytest.raises(
            ValueError, match=rf"{name} parameter should be an integer >= {lowest} \(got {value!r}"
        ):
            made(**{name: value})


@pytest.mark.parametrize("name", ["handle_impossible_answer", "align_to_words"])
def test_a_switch_is_true_or_false(name: str) -> None:
    made: Any = Arguments
    with pytest.raises(ValueError, match=f"{name} parameter should be True or False"):
        made(**{name: 1})


def test_the_overlap_may_not_be_longer_than_the_window() -> None:
    with pytest.raises(ValueError, match=r"`doc_stride` \(400\) is larger than `max_seq_len` \(384\)"):
        Arguments(doc_stride=400, max_seq_len=384)
