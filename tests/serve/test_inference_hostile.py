"""Hostile requests of the Open Inference Protocol: each gets a short {"error": ...}, and the next its answer."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.serve.test_inference_protocol import INFER, binary, column, packed, rows
from tests.served import serve_quietly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.served import Served

pytestmark = pytest.mark.slow

LIMIT = 60_000
HUGE = 2**63
BYTES = packed([b"Who?"])


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server whose log has no error at the end, and no control character."""
    with serve_quietly("--max-request-bytes", LIMIT) as running:
        yield running


def one(**changes: Any) -> dict[str, Any]:
    """Return a request with one row whose question is changed."""
    return {"inputs": [{**column("question", ["Who?"]), **changes}, column("context", ["Émile."])]}


def without(name: str) -> dict[str, Any]:
    """Return a request whose question lacks a field."""
    body = one()
    del body["inputs"][0][name]
    return body


def sized(size: Any, *, rows: Any = 1) -> dict[str, Any]:
    """Return a request whose question is binary, of so many bytes."""
    body = without("data")
    body["inputs"][0] |= {"shape": [rows], "parameters": {"binary_data_size": size}}
    body["inputs"][1] = column("context", ["Émile."] * (rows if rows in range(1, 1001) else 1))
    return body


def asking(*outputs: Any) -> dict[str, Any]:
    return one() | {"outputs": list(outputs)}


# A JSON body -> what the error says.
BODIES: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "inputs: Field required"),
    "an array": ([], "Input should be"),
    "null": (None, "Input should be"),
    "no inputs": ({"inputs": []}, "inputs: List should have at least 2 items"),
    "one input": ({"inputs": one()["inputs"][:1]}, "inputs: List should have at least 2 items"),
    "three inputs": ({"inputs": one()["inputs"] * 2}, "inputs: List should have at most 2 items"),
    "14,000 inputs": ({"inputs": [{}] * 14_000}, "inputs: List should have at most 2 items"),
    "5,000 unknown fields": ({str(number): 1 for number in range(5000)}, "at most 4000 fields"),
    "the question twice": ({"inputs": one()["inputs"][:1] * 2}, "one input question and one input context"),
    "unknown input": (one(name="passage"), "inputs.0.name: Input should be 'question' or 'context'"),
    "wrong datatype": (one(datatype="INT64", data=[1]), "inputs.0.datatype: Input should be 'BYTES'"),
    "no datatype": (without("datatype"), "inputs.0.datatype: Field required"),
    "no shape": (without("shape"), "inputs.0.shape: Field required"),
    "no data": (without("data"), "inputs.0: give either data or the parameter binary_data_size"),
    "data twice": (one(parameters={"binary_data_size": 0}), "give either data or"),
    "empty shape": (one(shape=[]), "inputs.0.shape: List should have at least 1 item"),
    "three axes": (one(shape=[1, 1, 1]), "inputs.0.shape: List should have at most 2 items"),
    "two columns": (one(shape=[1, 2], data=["a", "b"]), "shape should be [N] or [N, 1]"),
    "no rows": ({"inputs": [column("question", []), column("context", [])]}, "greater than or equal to 1"),
    "negative shape": (one(shape=[-1]), "inputs.0.shape.0: Input should be greater than or equal to 1"),
    "huge shape": (one(shape=[HUGE]), "inputs.0.shape.0: Input should be less than or equal to 1000"),
    "product overflows": (one(shape=[2**32, 2**32]), "inputs.0.shape.0: Input should be less than"),
    "product overflows to 1": (one(shape=[HUGE + 1, HUGE * 2 - 1]), "inputs.0.shape.0: Input should be less than"),
    "shape of 4,000 digits": (one(shape=[int("9" * 4000)]), "inputs.0.shape.0: Input should be"),
    "shape of a float": (one(shape=[1.0]), "inputs.0.shape.0: Input should be a valid integer"),
    "shape of a bool": (one(shape=[True]), "inputs.0.shape.0: Input should be a valid integer"),
    "shape of a text": (one(shape="1"), "inputs.0.shape: Input should be a valid list"),
    "shape larger than the data": (one(shape=[2]), "data has 1 rows, but shape says 2"),
    "shape smaller than the data": (one(data=["a", "b"]), "data has 2 rows, but shape says 1"),
    "more contexts": (rows(["a"], ["b", "c"]), "question and context must have the same number of rows"),
    "1,001 rows": (rows(["a"] * 1001, ["b"] * 1001), "less than or equal to 1000"),
    "1,001 rows of data": (one(data=["a"] * 1001), "at most 1000 rows"),
    "numbers": (one(data=[1]), "an array of strings"),
    "null in data": (one(data=[None]), "an array of strings"),
    "rows of two": (one(data=[["a", "b"]]), "an array of strings"),
    "deep rows": (one(data=[[["a"]]]), "an array of strings"),
    "data is a text": (one(data="Who?"), "inputs.0.data: Input should be a valid list"),
    "shared memory": (one(parameters={"shared_memory_region": "a"}), "shared memory is not supported"),
    "parameters of a text": (one(parameters="a"), "inputs.0.parameters"),
    "negative size": (sized(-1), "binary_data_size: Input should be greater than or equal to 0"),
    "size of a text": (sized("8"), "binary_data_size: Input should be a valid integer"),
    "size of a bool": (sized(True), "binary_data_size: Input should be a valid integer"),
    "huge size": (sized(HUGE), f"add up to {HUGE}, but 0 bytes follow the JSON"),
    "size without bytes": (sized(8), "add up to 8, but 0 bytes follow the JSON"),
    "empty tensor": (sized(0), "element 0 of 1 is cut short: no length is left for it"),
    "unknown output": (asking({"name": "answer"}), "outputs.0.name: Input should be 'text'"),
    "an output twice": (asking({"name": "text"}, {"name": "text"}), "an output is named twice"),
    "1,900 outputs": (asking(*[{"name": "text"}] * 1900), "outputs: List should have at most 6 items"),
    "classification": (asking({"name": "text", "parameters": {"classification": 2}}), "not supported"),
    "output in shared memory": (asking({"name": "text", "parameters": {"shared_memory_region": "a"}}), "not supp"),
    "binary as a text": (asking({"name": "text", "parameters": {"binary_data": "yes"}}), "valid boolean"),
    "a sequence": (one() | {"parameters": {"sequence_id": 1}}, "parameters.sequence_id: Extra inputs are not"),
    "two answers": (one() | {"parameters": {"n_best": 2}}, "parameters.n_best: Input should be 1"),
    "long overlap": (one() | {"parameters": {"doc_stride": 33}}, "doc_stride: Input should be less than"),
    "long answer": (one() | {"parameters": {"max_answer_length": HUGE}}, "max_answer_length: Input should be"),
    "a threshold that is text": (one() | {"parameters": {"null_threshold": "x"}}, "null_threshold: Input should"),
    "unknown unit": (one() | {"parameters": {"offset_unit": "byte"}}, "offset_unit: Input should be"),
    "unknown field": (one() | {"model": "a"}, "model: Extra inputs are not permitted"),
    "id of a number": (one() | {"id": 7}, "id: Input should be a valid string"),
    "long id": (one() | {"id": "a" * 201}, "id: String should have at most 200 characters"),
}  # fmt: skip


def check_refused(served: Served, status: int, says: str, **request: Any) -> None:
    """Check that a request gets an error in the form of the protocol, and the next one its answer."""
    response = served.client.post(request.pop("path", INFER), **request)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.content.isascii()
    error = response.json()
    assert list(error) == ["error"]
    assert says in error["error"]
    assert len(error["error"]) <= 500
    assert served.client.post(INFER, json=one()).status_code == 200


@pytest.mark.parametrize("name", BODIES)
def test_a_wrong_body_is_400(served: Served, name: str) -> None:
    body, says = BODIES[name]
    check_refused(served, 400, says, content=json.dumps(body))


# Bytes of the question after the JSON, its number of rows -> what the error says.
TENSORS = {
    "length beyond the tensor": (b"\x05\x00\x00\x00Who?", 1, "element 0 of 1 is cut short: its length is 5 bytes"),
    "largest length": (b"\xff\xff\xff\xffWho?", 1, "its length is 4294967295 bytes and 4 are left"),
    "length in the other order": (b"\x00\x00\x00\x04Who?", 1, "its length is 67108864 bytes"),
    "half a length": (b"\x04\x00", 1, "cut short"),
    "fewer elements": (BYTES, 2, "element 1 of 2 is cut short: no length is left for it"),
    "more elements": (BYTES * 2, 1, "8 bytes are left after its 1 elements"),
    "a byte more": (BYTES + b"\x00", 1, "1 bytes are left after its 1 elements"),
    "10,000 empty elements": (b"\x00" * 40_000, 1000, "36000 bytes are left after its 1000 elements"),
    "not utf-8": (packed([b"\xff\xfe"]), 1, "element 0 is not UTF-8"),
    "overlong utf-8": (packed([b"\xc0\xaf"]), 1, "element 0 is not UTF-8"),
    "surrogate in utf-8": (packed([b"\xed\xa0\x80"]), 1, "element 0 is not UTF-8"),
    "utf-8 cut in two": (packed(["é".encode()[:1], "é".encode()[1:]]), 2, "element 0 is not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", TENSORS)
def test_a_wrong_tensor_is_400(served: Served, name: str) -> None:
    data, count, says = TENSORS[name]
    content, headers = binary(sized(len(data), rows=count), data)
    check_refused(served, 400, says, content=content, headers=headers)


@pytest.mark.parametrize("size", [len(BYTES) - 1, len(BYTES) + 1, 0, 10**6, HUGE])
def test_sizes_must_be_those_of_the_body(served: Served, size: int) -> None:
    content, headers = binary(sized(size), BYTES)
    says = f"add up to {size}, but {len(BYTES)} bytes follow the JSON"
    check_refused(served, 400, says, content=content, headers=headers)


def test_sizes_that_are_swapped_are_noticed(served: Served) -> None:
    body = sized(4)
    body["inputs"][1] = {
        "name": "context",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": 12},
    }
    content, headers = binary(body, BYTES, BYTES)
    check_refused(served, 400, "element 0 of 1 is cut short", content=content, headers=headers)


@pytest.mark.parametrize(
    ("length", "says"),
    [
        ("-1", "must be a number of bytes"),
        ("+9", "must be a number of bytes"),
        ("0x10", "must be a number of bytes"),
        ("1e2", "must be a number of bytes"),
        ("9" * 20, "must be a number of bytes"),
        ("9" * 5000, "must be a number of bytes"),
        ("100000", "must be a number of bytes"),
        ("0", "not JSON"),
        ("10", "not JSON"),
    ],
)
def test_the_length_of_the_json_must_be_within_the_body(served: Served, length: str, says: str) -> None:
    content, _ = binary(sized(len(BYTES)), BYTES)
    headers = {"Inference-Header-Content-Length": length}
    check_refused(served, 400, says, content=content, headers=headers)


def test_binary_tensors_without_the_header_are_not_json(served: Served) -> None:
    content, _ = binary(sized(len(BYTES)), BYTES)
    check_refused(served, 400, "not JSON", content=content)


@pytest.mark.parametrize(
    ("content", "headers", "status", "says"),
    [
        (b"{", {}, 400, "not JSON"),
        (b"", {}, 400, "not JSON"),
        (b'{"inputs": NaN}', {}, 400, "not JSON"),
        (b"[" * 50_000, {}, 400, "not JSON"),
        (b'{"id": "\\ud83d"}', {}, 400, "not JSON"),
        (b" " * (LIMIT + 1), {}, 413, "larger than 60000 bytes"),
        (b"question=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "Content-Type"),
        (b"{}", {"Content-Type": "application/json; charset=utf-16"}, 415, "Content-Type"),
        (gzip.compress(b" " * 9_000_000), {"Content-Encoding": "gzip"}, 415, "must not be compressed"),
    ],
)
def test_what_is_no_request_is_refused(
    served: Served, content: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    check_refused(served, status, says, content=content, headers=headers)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/v2/models/other/infer", 404, "this server has tiny-bert, version 1"),
        ("/v2/models/tiny-bert/versions/2/infer", 404, "this server has tiny-bert, version 1"),
        ("/v2/models/tiny-bert/versions//infer", 404, "no such endpoint"),
        ("/v2/models/tiny-bert/infer/", 404, "no such endpoint"),
        ("/v2/models/tiny-bert%2Finfer/infer", 404, "no such endpoint"),
        ("/v2/models/tiny-bert%0A/infer", 404, "this server has tiny-bert"),
        ("/v2/models/%1B%5B31m/infer", 404, "this server has tiny-bert"),
        ("/v2/models/%7Bname%7D/infer", 404, "this server has tiny-bert"),
        ("/v2/models/tiny-bert/config", 404, "no such endpoint"),
        ("/v2/repository/index", 404, "no such endpoint"),
        ("/v2/models//infer", 404, "no such endpoint"),
        ("/v2/", 404, "no such endpoint"),
        ("/v2", 405, "other methods"),
        ("/v2/health/ready", 405, "other methods"),
        ("/v2/models/tiny-bert", 405, "other methods"),
    ],
)
def test_a_path_of_nothing_is_refused(served: Served, path: str, status: int, says: str) -> None:
    check_refused(served, status, says, path=path, json=one())
    assert served.client.get(INFER).json() == {"error": "the endpoint has other methods: /docs lists them"}
