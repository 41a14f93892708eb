"""The Open Inference Protocol of `qa-onnx serve`, spoken by Triton's own client for HTTP."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import __version__
from tests.served import Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx import Reader

if missing := [name for name in ("tritonclient", "geventhttpclient", "rapidjson") if find_spec(name) is None]:
    pytest.skip(f"needs tritonclient[http]: no {', '.join(missing)}", allow_module_level=True)
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow

MODEL = "tiny-bert"
QUESTIONS = ["Where does the tower stand?", "Who built it?", "", "What is red?"]
CONTEXTS = ["The tower 🗼 stands in 東京, near the park.", "", "Émile.", "Émile has a red 🚪 door. " * 20]
OUTPUTS = ["text", "start", "end", "score", "probability", "null_probability"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve("--max-request-bytes", 50_000) as running:
        yield running
        assert [line for line in running.logged() if line["level"] == "error"] == []


@pytest.fixture
def client(served: Served) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(f"127.0.0.1:{served.port}") as running:
        yield running


def tensors(questions: list[str], contexts: list[str], **options: Any) -> list[Any]:
    """Return the inputs of rows; `binary_data` is an option."""
    made = []
    for name, texts in (("question", questions), ("context", contexts)):
        tensor = InferInput(name, [len(texts)], "BYTES")
        tensor.set_data_from_numpy(np.array(texts, dtype=object), **options)
        made.append(tensor)
    return made


def assert_answers(result: Any, reader: Reader, **changes: Any) -> None:
    options = dataclasses.replace(reader.options, **changes)
    answers = [reader.ask(*row, options=options) for row in zip(QUESTIONS, CONTEXTS, strict=True)]
    found = {name: result.as_numpy(name) for name in OUTPUTS}
    assert [found[name].dtype for name in OUTPUTS] == [np.object_, np.int64, np.int64, *[np.float64] * 3]
    assert {column.shape for column in found.values()} == {(4,)}
    texts = [text.decode() if isinstance(text, bytes) else text for text in found["text"]]
    assert texts == [answer.text for answer in answers]
    assert found["start"].tolist() == [answer.start if answer else -1 for answer in answers]
    assert found["end"].tolist() == [answer.end if answer else -1 for answer in answers]
    assert found["score"] == pytest.approx([answer.score for answer in answers], abs=1e-4)
    assert found["probability"] == pytest.approx([answer.probability for answer in answers], abs=1e-4)


def test_it_finds_a_server_and_its_model(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("other")
    assert not client.is_model_ready(MODEL, "2")
    assert client.get_server_metadata()["version"] == __version__
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    found = client.get_model_metadata(MODEL, "1")
    assert [tensor["name"] for tensor in found["inputs"]] == ["question", "context"]
    assert [tensor["name"] for tensor in found["outputs"]] == OUTPUTS


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [None, True, False])
def test_answers_are_the_readers(
    client: InferenceServerClient, tiny_reader: Reader, binary_in: bool, binary_out: bool | None
) -> None:
    asked = None
    if binary_out is not None:  # None: the client asks for all outputs in binary
        asked = [InferRequestedOutput(name, binary_data=binary_out) for name in reversed(OUTPUTS)]
    inputs = tensors(QUESTIONS, CONTEXTS, binary_data=binary_in)
    result = client.infer(MODEL, inputs, model_version="1", outputs=asked, request_id="mine")
    assert_answers(result, tiny_reader)
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["model_version"] == "1"
    sizes = ["binary_data_size" in output.get("parameters", {}) for output in result.get_response()["outputs"]]
    assert sizes == [binary_out is not False] * 6


def test_parameters_are_options(client: InferenceServerClient, tiny_reader: Reader) -> None:
    inputs = tensors(QUESTIONS, CONTEXTS)
    assert_answers(
        client.infer(MODEL, inputs, parameters={"max_answer_length": 1}), tiny_reader, max_answer_length=1
    )
    result = client.infer(MODEL, inputs, parameters={"null_threshold": -1e9})
    assert_answers(result, tiny_reader, null_threshold=-1e9)
    assert result.as_numpy("text").tolist() == [b""] * 4


def test_its_tensors_may_hold_bytes_and_a_column_of_width_1(client: InferenceServerClient) -> None:
    made = []
    for name, texts in (("question", QUESTIONS), ("context", CONTEXTS)):
        tensor = InferInput(name, [4, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[text.encode()] for text in texts], dtype=object))
        made.append(tensor)
    expected = client.infer(MODEL, tensors(QUESTIONS, CONTEXTS))
    assert client.infer(MODEL, made).as_numpy("text").tolist() == expected.as_numpy("text").tolist()


NUMBERS = InferInput("question", [1], "INT64")
NUMBERS.set_data_from_numpy(np.array([1]))
GOOD = tensors(["Who?"], ["Émile."])


@pytest.mark.parametrize(
    ("model", "inputs", "options", "status", "says"),
    [
        ("other", GOOD, {}, "404", "this server has tiny-bert, version 1"),
        (MODEL, GOOD, {"model_version": "2"}, "404", "this server has tiny-bert, version 1"),
        (MODEL, GOOD[:1], {}, "400", "inputs: List should have at least 2 items"),
        (MODEL, [NUMBERS, GOOD[1]], {}, "400", "inputs.0.datatype: Input should be 'BYTES'"),
        (MODEL, tensors(["a", "b"], ["c"]), {}, "400", "the same number of rows"),
        (MODEL, tensors(["a"] * 1001, ["c"] * 1001), {}, "400", "less than or equal to 1000"),
        (MODEL, tensors(["a"], ["c" * 60_000]), {}, "413", "larger than 50000 bytes"),
        (MODEL, GOOD, {"sequence_id": 3}, "400", "parameters.sequence_id"),
        (MODEL, GOOD, {"request_compression_algorithm": "gzip"}, "415", "must not be compressed"),
        (MODEL, GOOD, {"outputs": [InferRequestedOutput("logits")]}, "400", "outputs.0.name"),
        (MODEL, GOOD, {"outputs": [InferRequestedOutput("text", class_count=2)]}, "400", "not supported"),
    ],
)
def test_errors_are_its_exceptions(
    client: InferenceServerClient, model: str, inputs: list[Any], options: dict[str, Any], status: str, says: str
) -> None:
    with pytest.raises(InferenceServerException, match=says) as caught:
        client.infer(model, inputs, **options)
    assert caught.value.status() == status
    with pytest.raises(InferenceServerException, match="no such endpoint"):
        client.get_model_config(MODEL)
