"""Golden examples: this machine passes its own, and every difference is found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import Bundle, BundleError, EngineError, Example, Reader, Windower
from qa_onnx.engines.names import PRECISIONS
from qa_onnx.evaluation import golden
from tests.conftest import FakeSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

pytestmark = pytest.mark.cpu


@pytest.fixture(scope="module")
def text(tiny_bundle: Bundle) -> str:
    return tiny_bundle.text(tiny_bundle.graph("fp32").golden)


def edited(text: str, change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(text)
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_this_machine_passes(tiny_bundle: Bundle, precision: str) -> None:
    reader = Reader.load(tiny_bundle, precision=precision, threads=1)
    recorded = tiny_bundle.text(tiny_bundle.graph(precision).golden)
    found = golden.check(reader, recorded, precision)
    assert found.passed
    assert found.windows == len(json.loads(recorded)["windows"]) > len(json.loads(recorded)["examples"])
    assert found.max_abs < PRECISIONS[precision].tolerance == found.tolerance


def test_what_is_recorded_now_is_what_was_recorded_at_export(tiny_reader: Reader, text: str) -> None:
    examples = tuple(Example(item["question"], item["context"]) for item in json.loads(text)["examples"])
    again = json.loads(golden.record(tiny_reader, examples))
    recorded = json.loads(text)
    assert again["examples"] == recorded["examples"]
    for found, expected in zip(again["windows"], recorded["windows"], strict=True):
        assert found["input_ids"] == expected["input_ids"]
        assert found["example"] == expected["example"]
        assert found["start_logits"] == pytest.approx(expected["start_logits"], abs=1e-4)


def test_the_logits_of_another_model_fail(windower: Windower, text: str) -> None:
    found = golden.check(Reader(session=FakeSession(), windower=windower), text, "fp32")
    assert not found.passed
    assert found.max_abs > 1


@pytest.mark.parametrize("side", ["start_logits", "end_logits"])
@pytest.mark.parametrize(("shift", "passes"), [(0.0005, True), (0.01, False), (-0.01, False)])
def test_one_edited_logit_is_measured(
    tiny_reader: Reader, text: str, side: str, shift: float, passes: bool
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["windows"][-1][side][3] += shift

    found = golden.check(tiny_reader, edited(text, change), "fp32")
    assert found.passed is passes
    assert found.max_abs == pytest.approx(abs(shift), abs=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["windows"][0]["input_ids"].__setitem__(1, 5),
        lambda content: content["windows"][0]["input_ids"].pop(),
        lambda content: content["windows"][0]["start_logits"].__setitem__(2, float("nan")),
        lambda content: content["windows"][0]["end_logits"].__setitem__(2, float("inf")),
        lambda content: [content["windows"][0][side].pop() for side in ("start_logits", "end_logits")],
        lambda content: content["windows"].pop(),
        lambda content: content["windows"].append(content["windows"][0]),
        lambda content: content["examples"].pop(),
        lambda content: content["examples"][0].update(context="another text"),
        lambda content: content["windows"].clear(),
        lambda content: content.update(examples=[], windows=[]),
    ],
    ids=[
        "other token",
        "token missing",
        "logit is no number",
        "infinite logit",
        "logits missing",
        "window missing",
        "window too many",
        "example missing",
        "other text",
        "no window",
        "nothing at all",
    ],
)
def test_what_cannot_be_compared_is_infinitely_far(
    tiny_reader: Reader, text: str, change: Callable[[dict[str, Any]], object]
) -> None:
    found = golden.check(tiny_reader, edited(text, change), "fp32")
    assert found.max_abs == float("inf")
    assert not found.passed


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_machine_that_returns_no_numbers_fails(windower: Windower, text: str, bad: float) -> None:
    class Broken(FakeSession):
        def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            start, end = super().run(inputs)
            start[:, 2] = bad
            return start, end

    reader = Reader(session=Broken(), windower=windower)
    recorded = golden.record(Reader(session=FakeSession(), windower=windower), (Example("a", "b c d"),))
    assert golden.check(Reader(session=FakeSession(), windower=windower), recorded, "fp32").passed
    with pytest.raises(EngineError, match="infinite or not a number"):
        golden.check(reader, recorded, "fp32")


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"examples": []}',
        '{"examples": [{"question": "a"}], "windows": []}',
        '{"examples": [{"question": "a", "context": 3}], "windows": []}',
        '{"examples": 3, "windows": []}',
        '{"examples": [], "windows": [{"input_ids": [1]}]}',
        '{"examples": [], "windows": [{"input_ids": [1], "start_logits": ["x"], "end_logits": [1]}]}',
        '{"examples": [], "windows": [{"input_ids": [1], "start_logits": [1, 2], "end_logits": [1]}]}',
        "[" * 200_000,
        '{"examples": ' + "[" * 200_000 + "]" * 200_000 + ', "windows": []}',
        f'{{"examples": [], "windows": [{{"input_ids": [1], "start_logits": [{"9" * 400}], "end_logits": [1]}}]}}',
        f'{{"examples": {"9" * 5000}, "windows": []}}',
        f'{{"examples": [{{"question": "a", "context": "{"b " * 10_001}"}}], "windows": []}}',
        f'{{"examples": [], "windows": [{{"input_ids": {[1] * 97}, "start_logits": [1], "end_logits": [1]}}]}}',
        '{"examples": [], "windows": [{"input_ids": [1], "start_logits": [true], "end_logits": [1]}]}',
        '{"examples": [], "windows": [{"input_ids": "1", "start_logits": [1], "end_logits": [1]}]}',
        '{"examples": [{"question": "a", "context": ["' + "b" * 10**6 + '"]}], "windows": []}',
        " " * ((1 << 20) + 1),
    ],
)
def test_damaged_text_is_a_bundle_error(tiny_reader: Reader, damaged: str) -> None:
    with pytest.raises(BundleError, match="the golden file of fp32 is damaged") as caught:
        golden.check(tiny_reader, damaged, "fp32")
    assert len(str(caught.value)) < 300
