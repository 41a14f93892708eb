"""docs/reference/http.md: the server gives the responses that the page shows, and the page has every endpoint."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.served import ROOT, Served, serve

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
MODEL = "minilm-squad"
VARIES = {"request_id", "precision", "threads"}  # from request to request, or from machine to machine


def sections() -> dict[str, list[Any]]:
    """The JSON that each endpoint is shown with."""
    parts = re.split(r"^##+ (.*)$", PAGE, flags=re.MULTILINE)[1:]
    return {
        endpoint: [
            json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        ]
        for endpoint, text in zip(parts[::2], parts[1::2], strict=True)
        if endpoint.startswith(("GET ", "POST "))
    }


def assert_like(got: Any, shown: Any, place: str, *, part: bool = False) -> None:
    """Compare with what is shown; floats differ from CPU to CPU, and what is at fault stands in the place."""
    if isinstance(shown, float):
        assert isinstance(got, float), place
    elif isinstance(shown, list):
        assert len(got) == len(shown), place
        for number, (one, other) in enumerate(zip(got, shown, strict=True)):
            assert_like(one, other, f"{place}[{number}]")
    elif isinstance(shown, dict):
        assert set(shown) <= set(got) if part else set(shown) == set(got), place
        for key in set(shown) - VARIES:
            if key != "answers" or shown["state"] == "answer":
                assert_like(got[key], shown[key], f"{place}.{key}")
    else:
        assert got == shown, place


@pytest.fixture(scope="module")
def server() -> Any:
    with serve(bundle=ROOT / "exported" / MODEL) as served:
        yield served


def test_the_responses_are_those_that_are_shown(server: Served) -> None:
    for endpoint, blocks in sections().items():
        method, path = endpoint.replace("{name}", MODEL).split()
        if method == "GET":
            response = server.client.get(path)
            assert response.status_code == 200
            for one in blocks:
                assert_like(response.json(), one, endpoint, part=path == "/v1/bundle")
        for request, one in zip(blocks[::2], blocks[1::2], strict=True) if method == "POST" else ():
            assert_like(server.client.post(path, json=request).json(), one, endpoint)


def test_the_problem_is_that_which_is_shown(server: Served) -> None:
    part = PAGE[PAGE.index("## Errors") : PAGE.index("## The Open Inference Protocol")]
    [body] = re.findall(r"^`(\{.*\})`:$", part, re.MULTILINE)
    [shown] = re.findall(r"^```json\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)
    response = server.client.post("/v1/answer", json=json.loads(body))
    assert response.status_code == 422
    assert_like(response.json(), json.loads(shown), "problem")


def test_every_endpoint_is_there(server: Served) -> None:
    document = server.client.get("/openapi.json").json()
    endpoints = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    shown = {one for one in endpoints if "{version}" not in one}
    assert shown == set(sections()) == set(re.findall(r"^```\{endpoint\} (.*)$", PAGE, re.MULTILINE))


def test_the_tables_are_those_of_the_server(server: Served) -> None:
    pytest.importorskip("sphinx", reason="needs the group docs")
    from http_reference import described, openapi

    document = server.client.get("/openapi.json").json()
    assert openapi() == document
    text = described("POST /v1/answer")
    for name in ("AskOne", "AskMany", "AnswerResult", "AnswerItem", "EvidenceItem"):
        for field in document["components"]["schemas"][name]["properties"]:
            assert f"`{field}`" in text
    assert "| `n_best` | integer, by default `1`. Number of answers. 1 to 100. |" in text
