"""The Open Inference Protocol of `qa-onnx serve`, as JSON and with binary tensors, asked over HTTP."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import __version__
from tests.served import Served, serve
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from qa_onnx import Reader

pytestmark = pytest.mark.slow

INFER = "/v2/models/tiny-bert/infer"
QUESTIONS = ["Where does the tower stand?", "Who built it?", "What is red?"]
CONTEXTS = ["The tower 🗼 stands in 東京, near the park.", "", "Émile built it. It has a red 🚪 door. " * 9]
FLOATS = ("score", "probability", "null_probability")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server whose log has no error at the end, and no text of a request."""
    with serve("--max-request-bytes", 100_000) as running:
        yield running
        assert [line for line in running.logged() if line["level"] == "error"] == []
        assert b"Traceback" not in running.log.read_bytes()


def column(name: str, data: list[Any], **changes: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": data, **changes}


def rows(questions: list[str] = QUESTIONS, contexts: list[str] = CONTEXTS, **fields: Any) -> dict[str, Any]:
    return {"inputs": [column("question", questions), column("context", contexts)], **fields}


def packed(texts: list[bytes]) -> bytes:
    """Pack BYTES as the extension for binary data has them."""
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def binary(head: dict[str, Any], *parts: bytes, **headers: str) -> tuple[bytes, dict[str, str]]:
    """Return a body with tensors after the JSON, and its headers."""
    content = json.dumps(head).encode()
    length = {"Inference-Header-Content-Length": str(len(content))}
    return content + b"".join(parts), {**length, **headers}


def columns(response: httpx.Response) -> dict[str, list[Any]]:
    """Return the outputs of a response, in JSON or in binary."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get("inference-header-content-length", len(response.content)))
    head, rest = json.loads(response.content[:length]), response.content[length:]
    found = {}
    for output in head["outputs"]:
        (count,) = output["shape"]
        if "data" in output:
            found[output["name"]] = output["data"]
            continue
        size = output["parameters"]["binary_data_size"]
        part, rest = rest[:size], rest[size:]
        if output["datatype"] != "BYTES":
            kind = {"INT64": "q", "FP64": "d"}[output["datatype"]]
            found[output["name"]] = list(struct.unpack(f"<{count}{kind}", part))
            continue
        texts = []
        while part:
            (length,) = struct.unpack_from("<I", part)
            texts.append(part[4 : 4 + length].decode())
            part = part[4 + length :]
        found[output["name"]] = texts
    assert rest == b""
    assert {len(values) for values in found.values()} == {count}
    return found


def assert_answers(found: dict[str, list[Any]], reader: Reader, **changes: Any) -> None:
    """Check a response to `rows()` against the library."""
    options = dataclasses.replace(reader.options, **changes)
    for row, (question, context) in enumerate(zip(QUESTIONS, CONTEXTS, strict=True)):
        answer = reader.ask(question, context, options=options)
        assert found["text"][row] == answer.text
        places = (answer.start, answer.end) if answer else (-1, -1)
        assert (found["start"][row], found["end"][row]) == places
        assert found["score"][row] == pytest.approx(answer.score, abs=1e-4)
        assert found["probability"][row] == pytest.approx(answer.probability, abs=1e-4)


def test_the_server_and_its_model_are_described(served: Served) -> None:
    get = served.client.get
    assert get("/v2").json() == {
        "name": "qa-onnx",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }
    assert get("/v2/health/live").json() == {"live": True}
    assert get("/v2/health/ready").json() == {"ready": True}
    found = get("/v2/models/tiny-bert").json()
    assert (found["name"], found["versions"], found["platform"]) == ("tiny-bert", ["1"], "qa-onnx_bundle")
    assert [(item["name"], item["datatype"], item["shape"]) for item in found["inputs"] + found["outputs"]] == [
        ("question", "BYTES", [-1]),
        ("context", "BYTES", [-1]),
        ("text", "BYTES", [-1]),
        ("start", "INT64", [-1]),
        ("end", "INT64", [-1]),
        *((name, "FP64", [-1]) for name in FLOATS),
    ]
    assert get("/v2/models/tiny-bert/versions/1").json() == found
    for path in ("/v2/models/tiny-bert/ready", "/v2/models/tiny-bert/versions/1/ready"):
        assert get(path).json() == {"name": "tiny-bert", "ready": True}


@pytest.mark.parametrize("path", [INFER, "/v2/models/tiny-bert/versions/1/infer"])
def test_rows_get_the_readers_answers(served: Served, tiny_reader: Reader, path: str) -> None:
    response = served.client.post(path, json=rows(id="mine"))
    head = response.json()
    assert (head["model_name"], head["model_version"], head["id"]) == ("tiny-bert", "1", "mine")
    assert response.headers["content-type"] == "application/json"
    found = columns(response)
    assert list(found) == ["text", "start", "end", *FLOATS]
    assert_answers(found, tiny_reader)
    assert found["text"][1] == ""
    assert found["probability"][1] == found["null_probability"][1] == pytest.approx(1)
    assert "id" not in served.client.post(path, json=rows()).json()


def test_a_column_may_have_the_shape_n_1(served: Served, tiny_reader: Reader) -> None:
    nested = [[text] for text in CONTEXTS]
    for data in (nested, CONTEXTS):
        inputs = [column("context", data, shape=[3, 1]), column("question", QUESTIONS)]
        assert_answers(columns(served.client.post(INFER, json={"inputs": inputs})), tiny_reader)


@pytest.mark.parametrize("media", ["", "application/octet-stream", "application/json; charset=utf-8"])
def test_tensors_may_be_binary(served: Served, tiny_reader: Reader, media: str) -> None:
    parts = [packed([text.encode() for text in texts]) for texts in (CONTEXTS, QUESTIONS)]
    inputs = [
        {"name": name, "shape": [3], "datatype": "BYTES", "parameters": {"binary_data_size": len(part), "x": 1}}
        for name, part in zip(("context", "question"), parts, strict=True)
    ]
    body, headers = binary({"inputs": inputs, "parameters": {"binary_data_output": True}}, *parts)
    response = served.client.post(
        INFER, content=body, headers=headers | ({"Content-Type": media} if media else {})
    )
    assert response.headers["content-type"] == "application/octet-stream"
    assert_answers(columns(response), tiny_reader)
    mixed = [inputs[0], column("question", QUESTIONS)]
    body, headers = binary({"inputs": mixed}, parts[0])
    assert_answers(columns(served.client.post(INFER, content=body, headers=headers)), tiny_reader)


def test_outputs_are_those_that_are_named_in_their_order(served: Served, tiny_reader: Reader) -> None:
    asked = [
        {"name": "end", "parameters": {"binary_data": True}},
        {"name": "text", "parameters": {"binary_data": False, "unknown": 1}},
        {"name": "score"},
    ]
    response = served.client.post(INFER, json=rows(outputs=asked, parameters={"binary_data_output": False}))
    found = columns(response)
    assert list(found) == ["end", "text", "score"]
    length = int(response.headers["inference-header-content-length"])
    assert ["data" in output for output in json.loads(response.content[:length])["outputs"]] == [False, True, True]
    assert found["text"] == [tiny_reader.ask(*row).text for row in zip(QUESTIONS, CONTEXTS, strict=True)]


@pytest.mark.parametrize(
    "changes",
    [
        {"max_answer_length": 1},
        {"null_threshold": -1e9},
        {"null_threshold": None},
        {"doc_stride": 3, "align_to_words": False},
        {"overlapping": True},
        {"across_blocks": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_parameters_are_the_options_of_an_answer(
    served: Served, tiny_reader: Reader, changes: dict[str, Any]
) -> None:
    response = served.client.post(INFER, json=rows(parameters={**changes, "n_best": 1}))
    assert_answers(columns(response), tiny_reader, **changes)


def test_an_answer_that_is_withheld_is_a_row_without_one(served: Served, tiny_reader: Reader) -> None:
    found = columns(
        served.client.post(INFER, json=rows(parameters={"min_probability": 1, "null_threshold": None}))
    )
    assert (found["text"], found["start"], found["end"]) == ([""] * 3, [-1] * 3, [-1] * 3)
    assert found["probability"] == found["null_probability"]
    predictions = tiny_reader.predict(list(zip(QUESTIONS, CONTEXTS, strict=True)))
    assert found["score"] == pytest.approx([one.null_score for one in predictions], abs=1e-4)


@pytest.mark.parametrize(("unit", "codec", "size"), [("utf8", "utf-8", 1), ("utf16", "utf-16-le", 2)])
def test_offsets_count_the_unit_that_was_asked_for(served: Served, unit: str, codec: str, size: int) -> None:
    found = columns(served.client.post(INFER, json=rows(parameters={"offset_unit": unit})))
    for context, text, start, end in zip(CONTEXTS, found["text"], found["start"], found["end"], strict=True):
        if text:
            assert context.encode(codec)[size * start : size * end].decode(codec) == text


def test_the_servers_own_options_hold_with_one_answer_a_row() -> None:
    with serve("--n-best", 100, "--null-threshold", "-1000000") as served:
        many = rows(["Who?"] * 200, ["Émile."] * 200)
        found = columns(served.client.post(INFER, json=many))
        assert found["text"] == [""] * 200
        options = served.client.get("/openapi.json").json()["components"]["schemas"]["InferParameters"]
        assert options["properties"]["null_threshold"]["default"] == -1000000
        assert options["properties"]["n_best"]["const"] == 1


def test_it_shares_limits_metrics_and_log_with_the_other_endpoints(served: Served) -> None:
    before = served.metric("qa_onnx_questions_total")
    served.client.post(INFER, json=rows(), headers={"X-Request-ID": "a-request"})
    served.client.get("/v2/models/secret/ready")
    assert served.metric("qa_onnx_questions_total") == before + 3
    page = served.client.get("/metrics").text
    assert 'qa_onnx_requests_total{code="200",endpoint="/v2/models/{name}/infer"}' in page
    assert 'qa_onnx_requests_total{code="404",endpoint="/v2/models/{name}/ready"}' in page
    assert "secret" not in page
    eventually(lambda: any(line.get("request_id") == "a-request" for line in served.logged()), "it is logged")
    (line,) = [line for line in served.logged() if line.get("request_id") == "a-request"]
    assert (line["endpoint"], line["questions"]) == ("/v2/models/{name}/infer", 3)
    assert "tower" not in served.log.read_text(encoding="utf-8")


def test_a_full_queue_is_429_and_a_late_answer_504() -> None:
    with serve("--max-queue", 1, "--timeout-s", 1, gated=True) as served:
        served.gate.hold()
        late = served.client.post(INFER, json=rows(QUESTIONS[:1], CONTEXTS[:1]))
        assert late.status_code == 504
        assert "--timeout-s" in late.json()["error"]
        served.gate.release()
    with serve("--max-queue", 1, gated=True) as served, served.connect() as first:
        served.gate.hold()
        body = json.dumps(rows()).encode()
        first.sendall(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(body))
            + body
        )
        served.gate.wait_for_a_run()
        refused = served.client.post(INFER, json=rows())
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "too many questions are waiting" in refused.json()["error"]
        served.gate.release()


def test_a_model_that_loads_is_known_but_not_ready() -> None:
    with serve(gated=True, held=True, wait=False) as served:
        assert served.client.get("/v2/models/tiny-bert").status_code == 200
        assert served.client.get("/v2/health/live").status_code == 200
        asked = served.client.post(INFER, json=rows())
        for response in (served.client.get("/v2/health/ready"), served.client.get(f"{INFER[:-6]}/ready"), asked):
            assert response.status_code == 503
            assert response.json() == {"error": "the server is starting: try again in 1 s"}
        served.gate.release()


def test_a_key_is_needed_where_one_is_for_answers(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("key-0123456789abcdef\n")
    with serve("--api-key-file", file) as served:
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert served.client.get(path, headers={"Host": "probe.example.org"}).status_code == 200
        for path in ("/v2", "/v2/models/tiny-bert", "/v2/models/tiny-bert/ready", "/v2/models/other"):
            refused = served.client.get(path)
            assert refused.status_code == 401
            assert "API key" in refused.json()["error"]
            assert "www-authenticate" in refused.headers
        key = {"Authorization": "Bearer key-0123456789abcdef"}
        assert served.client.post(INFER, json=rows()).status_code == 401
        assert served.client.post(INFER, json=rows(), headers=key).status_code == 200


def test_a_page_of_another_site_does_not_ask(served: Served) -> None:
    for path in (INFER, "/v2/models/tiny-bert/versions/1/infer"):
        refused = served.client.post(path, json=rows(), headers={"Sec-Fetch-Site": "cross-site"})
        assert refused.status_code == 403
        assert "another site" in refused.json()["error"]
    assert served.client.get("/v2", headers={"Host": "evil.example"}).status_code == 421
