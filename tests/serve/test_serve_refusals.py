"""Refused requests: each gets a problem (RFC 9457) with what is wrong, the limit and the remedy; never a 500."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.served import Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
GOOD = {"question": "Where?", "context": "Here."}
LIMIT = 60_000


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve("--max-request-bytes", LIMIT) as running:
        yield running
        assert running.metric("qa_onnx_requests_total") > 0
        assert not [line for line in running.logged() if line["level"] == "error"]


def assert_problem(response: httpx.Response, status: int, says: str = "") -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert says in problem["detail"]
    return problem


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"question": "x", "context": "y"} more',
        b'{"question": "x", "context": "\xff\xfe"}',  # not UTF-8
        '{"question": "x", "context": "y"}'.encode("utf-16"),
        b'{"question": "\\ud83d", "context": "half of a pair"}',
        b'{"question": "x", "context": "\\udc00\\ud800"}',
        b'{"question": "x", "context": "\x00"}',
        b"[" * 40_000,
        b'{"question": ' + b'{"a":' * 8_000,
        b"1" * 40_000 + b"x",
    ],
    ids=range(12),
)
@pytest.mark.parametrize("path", ["/v1/answer", "/v1/scores"])
def test_what_is_not_json_is_400(served: Served, body: bytes, path: str) -> None:
    response = served.client.post(path, content=body, headers=JSON)
    assert_problem(response, 400, "the body is not JSON")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/question"),
        ({"question": "x"}, "#/context"),
        ({"question": 3, "context": "y"}, "#/question"),
        ({"question": None, "context": "y"}, "#/question"),
        ({**GOOD, "n_best": 0}, "#/n_best"),
        ({**GOOD, "n_best": 101}, "#/n_best"),
        ({**GOOD, "n_best": "3"}, "#/n_best"),
        ({**GOOD, "n_best": 1.5}, "#/n_best"),
        ({**GOOD, "n_best": True}, "#/n_best"),
        ({**GOOD, "n_best": 10**400}, "#/n_best"),
        ({**GOOD, "n_best": None}, "#/n_best"),
        ({**GOOD, "null_threshold": "off"}, "#/null_threshold"),
        ({**GOOD, "null_threshold": True}, "#/null_threshold"),
        ({**GOOD, "null_threshold": []}, "#/null_threshold"),
        ({**GOOD, "max_answer_length": 0}, "#/max_answer_length"),
        ({**GOOD, "max_answer_length": 65}, "#/max_answer_length"),
        ({**GOOD, "doc_stride": -1}, "#/doc_stride"),
        ({**GOOD, "doc_stride": 33}, "#/doc_stride"),
        ({**GOOD, "offset_unit": "bytes"}, "#/offset_unit"),
        ({**GOOD, "nbest": 3}, "#/nbest"),
        ({**GOOD, "a/b~c": 3}, "#/a~1b~0c"),
        ({**GOOD, "examples": [GOOD]}, "#/question"),
        ({"examples": []}, "#/examples"),
        ({"examples": {}}, "#/examples"),
        ({"examples": [3]}, "#/examples/0"),
        ({"examples": [GOOD] * 1001}, "#/examples"),
        ({"examples": [GOOD, {"question": "x"}]}, "#/examples/1/context"),
        ({"examples": [{**GOOD, "id": []}]}, "#/examples/0/id"),
        ({"examples": [{**GOOD, "id": 10**30}]}, "#/examples/0/id"),
        ({"examples": [{**GOOD, "id": "x" * 201}]}, "#/examples/0/id"),
        ({"examples": [{**GOOD, "n_best": 3}]}, "#/examples/0/n_best"),
        ({"examples": [GOOD] * 101, "n_best": 100}, "#/n_best"),
        ([], "#"),
        ("text", "#"),
        (None, "#"),
        (3, "#"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_endpoint_does_not_read_is_422_with_the_field(served: Served, body: Any, pointer: str) -> None:
    problem = assert_problem(served.answer(body), 422)
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert all(error["detail"] for error in problem["errors"])
    assert len({error["pointer"] for error in problem["errors"]}) == len(problem["errors"])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 5000])
@pytest.mark.parametrize("field", ["null_threshold", "n_best", "question"])
def test_numbers_that_are_none_are_refused(served: Served, number: str, field: str) -> None:
    body = json.dumps({**GOOD, field: 0}).replace(f'"{field}": 0', f'"{field}": {number}')
    response = served.client.post("/v1/answer", content=body, headers=JSON)
    assert response.status_code in {400, 422}
    assert_problem(response, response.status_code)


def test_a_problem_never_repeats_the_text(served: Served) -> None:
    for body in ({"question": ["Zanzibar"], "context": "Zanzibar"}, {"question": "Zanzibar", "context": 3}):
        assert "Zanzibar" not in served.answer(body).text
    assert "Zanzibar" not in served.client.post("/v1/answer", content=b'{"Zanzibar', headers=JSON).text


def test_problems_of_scores_name_the_field(served: Served) -> None:
    long = {"question": "x", "context": "a" * 50_001}
    for body, pointer in (
        ({"question": "x"}, "#/context"),
        ({**GOOD, "n_best": 1}, "#/n_best"),
        (long, "#/context"),
    ):
        problem = assert_problem(served.client.post("/v1/scores", json=body), 422)
        assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "Content-Type: application/json"),
        ({"Content-Type": "text/plain"}, "Content-Type: application/json"),
        ({"Content-Type": "application/json; charset=latin-1"}, "Content-Type: application/json"),
        ({**JSON, "Content-Encoding": "gzip"}, "Content-Encoding"),
        ({"Content-Type": 'Application/JSON; charset="UTF-8"'}, ""),
    ],
)
def test_only_plain_json_is_read_and_all_else_is_415(served: Served, headers: dict[str, str], says: str) -> None:
    response = served.client.post("/v1/answer", content=json.dumps(GOOD), headers=headers)
    if says:
        assert_problem(response, 415, says)
    else:
        assert response.status_code == 200


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html, */*;q=0.1", "text/html", "nonsense"])
def test_another_accept_header_gets_json(served: Served, accept: str) -> None:
    response = served.answer(GOOD, Accept=accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/answer/", "/v1/../etc/passwd", "/docs/", "/redoc", "/%00"]
)
def test_other_paths_are_404(served: Served, path: str) -> None:
    assert_problem(served.client.get(path), 404, "/docs lists them")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/answer", "POST"),
        ("DELETE", "/v1/answer", "POST"),
        ("POST", "/v1/bundle", "GET"),
        ("POST", "/", "GET"),
        ("PUT", "/health/live", "GET"),
        ("BREW", "/v1/scores", "POST"),
    ],
)
def test_other_methods_are_405(served: Served, method: str, path: str, allowed: str) -> None:
    response = served.client.request(method, path)
    assert_problem(response, 405)
    assert response.headers["allow"] == allowed


def test_a_body_over_the_limit_is_413_before_it_is_sent(served: Served) -> None:
    head = (
        f"POST /v1/answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LIMIT + 1}\r\nConnection: close\r\n\r\n"
    )
    answer = served.exchange(head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert f"larger than {LIMIT} bytes".encode() in answer


def test_a_chunked_body_over_the_limit_is_413_while_it_is_read(served: Served) -> None:
    def endless() -> Iterator[bytes]:
        yield from [b" " * 1000] * 1000

    response = served.client.post("/v1/answer", content=endless(), headers=JSON)
    assert_problem(response, 413, f"{LIMIT} bytes")


def test_the_limit_itself_is_let_through(served: Served) -> None:
    body = json.dumps(GOOD).encode()
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        response = served.client.post("/v1/answer", content=body + b" " * (size - len(body)), headers=JSON)
        assert response.status_code == status
    assert served.answer(GOOD).status_code == 200  # the connection is still good


# ---- keys


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_bytes(b"# two of these\r\n\r\nfirst-key-0123456789\r\n  second-key-0123456789  \n")
    with serve("--api-key-file", path) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/bundle"), ("GET", "/metrics"), ("POST", "/v1/answer"), ("POST", "/v1/scores")],
)
def test_a_key_is_asked_for_before_the_body_is_read(locked: Served, method: str, path: str) -> None:
    def ask(headers: dict[str, str], body: Any = GOOD) -> httpx.Response:
        return locked.client.request(method, path, json=body, headers=headers)

    key = "first-key-0123456789"
    assert_problem(ask({}, "no object"), 401, "Authorization: Bearer KEY")
    for wrong in (
        "",
        "Bearer",
        "Bearer wrong",
        "Bearer # two of these",
        f"Bearer {key[:-1]}",
        f"Basic {key}",
        key,
    ):
        response = ask({"Authorization": wrong})
        assert_problem(response, 401, "Authorization: Bearer KEY")
        assert response.headers["www-authenticate"].startswith("Bearer")
    for right in (f"Bearer {key}", f"bearer  {key}", "Bearer second-key-0123456789"):
        assert ask({"Authorization": right}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health/live", "/health/ready"])
def test_what_says_nothing_secret_stays_open(locked: Served, path: str) -> None:
    assert locked.client.get(path).status_code == 200


def test_the_document_says_that_a_key_is_needed(locked: Served, served: Served) -> None:
    document = locked.client.get("/openapi.json").json()
    assert document["paths"]["/v1/answer"]["post"]["security"] == [{"key": []}]
    assert "security" not in document["paths"]["/health/live"]["get"]
    assert "securitySchemes" not in served.client.get("/openapi.json").json()["components"]


def test_keys_are_not_in_the_log(locked: Served) -> None:
    locked.client.get("/v1/bundle", headers={"Authorization": "Bearer first-key-0123456789"})
    assert "key-0123456789" not in json.dumps(locked.logged())
