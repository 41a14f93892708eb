"""The endpoints of `qa-onnx serve`, asked over HTTP."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer

from qa_onnx import Bundle, Example, Options, Reader
from tests.conftest import TINY, TINY_TOKENIZER
from tests.served import Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

QUESTION = "Where does the tower stand?"
CONTEXT = "The tower 🗼 stands in 東京, near the park 👩‍🌾. Émile built it. It has 333 metres and a red 🚪 door."


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve("--max-request-bytes", 100_000) as running:
        yield running


def expected(reader: Reader, question: str, context: str, **changes: Any) -> tuple[list[Any], float]:
    """Answers and null score as the library gives them."""
    options = dataclasses.replace(reader.options, **{"n_best": 1, **changes})
    (prediction,) = reader.predict([Example(question, context)], options=options)
    return list(prediction.answers), prediction.null_score


def assert_same(found: dict[str, Any], answers: list[Any], null_score: float) -> None:
    assert [(item["text"], item["start"], item["end"]) for item in found["answers"]] == [
        (item.text, item.start, item.end) for item in answers
    ]
    for item, answer in zip(found["answers"], answers, strict=True):
        assert item["score"] == pytest.approx(answer.score, abs=1e-4)
        assert item["probability"] == pytest.approx(answer.probability, abs=1e-4)
    assert found["null_score"] == pytest.approx(null_score, abs=1e-4)


def test_one_answer_is_the_readers(served: Served, tiny_reader: Reader) -> None:
    response = served.answer({"question": QUESTION, "context": CONTEXT})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    found = response.json()
    assert_same(found, *expected(tiny_reader, QUESTION, CONTEXT))
    names = "question state answer answers null_score null_probability warnings milliseconds offset_unit"
    assert list(found) == names.split()
    assert found["question"] == QUESTION
    assert found["answer"] == found["answers"][0]
    assert found["milliseconds"] > 0
    assert found["warnings"] == []
    assert found["offset_unit"] == "character"
    assert 0 <= found["null_probability"] <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"n_best": 100},
        {"max_answer_length": 1, "n_best": 5},
        {"doc_stride": 3, "n_best": 5},
        {"align_to_words": False, "n_best": 50},
        {"overlapping": True, "n_best": 9},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_options_of_a_request_are_those_of_the_reader(
    served: Served, tiny_reader: Reader, changes: dict[str, Any]
) -> None:
    context = CONTEXT * 3
    found = served.answer({"question": QUESTION, "context": context, **changes}).json()
    assert_same(found, *expected(tiny_reader, QUESTION, context, **changes))
    default = served.answer({"question": QUESTION, "context": context}).json()
    assert (found["answers"], found["null_score"]) != (default["answers"], default["null_score"])


def test_answers_run_across_blocks_only_when_asked_for(served: Served, tiny_reader: Reader) -> None:
    context = "owl\n\nhunts\n\nnear"
    body = {"question": QUESTION, "context": context, "n_best": 50, "overlapping": True}
    for across in (False, True):
        found = served.answer({**body, "across_blocks": across}).json()
        assert any("\n" in item["text"] for item in found["answers"]) is across


@pytest.mark.parametrize(("least", "state"), [(0, "answer"), (1, "unsure")])
def test_an_answer_that_is_not_probable_enough_is_withheld(served: Served, least: float, state: str) -> None:
    found = served.answer({"question": QUESTION, "context": CONTEXT, "min_probability": least}).json()
    assert found["state"] == state
    assert (found["answer"] is not None) == (state == "answer")
    assert found["answers"]


@pytest.mark.parametrize(("unit", "codec", "size"), [("character", "utf-32-le", 4), ("utf8", "utf-8", 1)])
def test_evidence_says_where_each_answer_stands(served: Served, unit: str, codec: str, size: int) -> None:
    context = "🦉 first page.\n\f" + CONTEXT
    body = {"question": QUESTION, "context": context, "n_best": 5, "offset_unit": unit}
    assert "evidence" not in served.answer(body).json()["answers"][0]
    encoded = context.encode(codec)
    answers = served.answer({**body, "evidence": True}).json()["answers"]
    assert len(answers) == 5
    for item in answers:
        sentence, paragraph = (item["evidence"][part] for part in ("sentence", "paragraph"))
        for part in (sentence, paragraph):
            assert encoded[part["start"] * size : part["end"] * size].decode(codec) == part["text"]
        assert paragraph["start"] <= sentence["start"] <= item["start"] < item["end"] <= sentence["end"]
        before = encoded[: item["start"] * size].decode(codec)
        assert (item["evidence"]["page"], item["evidence"]["line"]) == (
            1 + before.count("\f"),
            1 + before.count("\n"),
        )


@pytest.mark.parametrize(("threshold", "answered"), [(-1e9, False), (1e9, True), (None, True), ("bundle", True)])
def test_null_threshold(served: Served, threshold: Any, answered: bool) -> None:
    found = served.answer({"question": QUESTION, "context": CONTEXT, "null_threshold": threshold}).json()
    assert (found["answer"] is not None) == answered
    assert found["answers"]  # the candidates stay


def test_an_integer_may_have_a_fraction_of_zero(served: Served) -> None:
    found = served.answer({"question": QUESTION, "context": CONTEXT, "n_best": 3.0, "doc_stride": 1e1})
    assert len(found.json()["answers"]) == 3
    many = served.answer({"examples": [{"id": 7.0, "question": QUESTION, "context": CONTEXT}]})
    assert many.json()["results"][0]["id"] == 7


@pytest.mark.parametrize(
    ("unit", "codec", "size"), [("character", "utf-32-le", 4), ("utf8", "utf-8", 1), ("utf16", "utf-16-le", 2)]
)
def test_offsets_count_the_unit_that_was_asked_for(served: Served, unit: str, codec: str, size: int) -> None:
    body = {"question": QUESTION, "context": CONTEXT, "n_best": 100, "overlapping": True, "offset_unit": unit}
    found = served.answer(body).json()
    assert found["offset_unit"] == unit
    assert len(found["answers"]) > 50
    for item in found["answers"]:
        piece = CONTEXT.encode(codec)[size * item["start"] : size * item["end"]]
        assert piece.decode(codec) == item["text"]
    assert max(item["end"] for item in found["answers"]) > CONTEXT.index("Émile")  # beyond the wide characters


def test_many_keep_their_order_and_ids(served: Served, tiny_reader: Reader) -> None:
    examples: list[dict[str, Any]] = [
        {"id": "first", "question": QUESTION, "context": CONTEXT * 4},
        {"question": "Who?", "context": ""},
        {"id": 7, "question": "", "context": "Émile."},
        {"id": None, "question": "Who built it?", "context": CONTEXT},
    ]
    response = served.answer({"examples": examples, "n_best": 3, "offset_unit": "character"})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["id"] for result in results] == ["first", None, 7, None]
    for example, result in zip(examples, results, strict=True):
        question, context = example["question"], example["context"]
        assert result["question"] == question
        assert_same(result, *expected(tiny_reader, question, context, n_best=3))
    assert results[1]["answer"] is None
    assert results[1]["warnings"] == ["the context is empty"]
    assert results[2]["warnings"] == ["the question is empty"]


@pytest.mark.parametrize("media", ["application/jsonl", "application/x-ndjson"])
def test_a_stream_has_a_line_for_each_in_their_order(served: Served, media: str) -> None:
    examples = [
        {"id": number, "question": f"Q{number}?", "context": CONTEXT * (number % 5)} for number in range(200)
    ]
    with served.client.stream(
        "POST", "/v1/answer", json={"examples": examples}, headers={"Accept": media}
    ) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == media
        assert response.headers["transfer-encoding"] == "chunked"
        lines = [json.loads(line) for line in response.iter_lines()]
    assert [line["id"] for line in lines] == list(range(200))
    assert [line["question"] for line in lines] == [f"Q{number}?" for number in range(200)]
    one = json.loads(served.answer({"question": QUESTION, "context": CONTEXT}, Accept=media).text)
    assert (one["question"], "id" in one) == (QUESTION, False)


@pytest.mark.parametrize("unit", ["character", "utf16"])
def test_scores_are_the_logits_of_the_window_with_the_most_context(
    served: Served, tiny_reader: Reader, unit: str
) -> None:
    context = CONTEXT * 4
    body = {"question": QUESTION, "context": context, "offset_unit": unit}
    response = served.client.post("/v1/scores", json=body)
    assert response.status_code == 200
    rows = list(tiny_reader.logits([Example(QUESTION, context)]))
    tokens = response.json()["tokens"]
    assert response.json()["windows"] == len(rows) > 2
    library = Tokenizer.from_file(str(TINY_TOKENIZER))
    library.no_truncation()
    offsets = library.encode(context, add_special_tokens=False).offsets
    for index, (token, span) in enumerate(zip(tokens, offsets, strict=True)):
        if unit == "character":
            assert (token["start"], token["end"]) == span
        else:
            assert token["start"] == len(context[: span[0]].encode("utf-16-le")) // 2
            assert token["end"] == len(context[: span[1]].encode("utf-16-le")) // 2
        start, end = by_max_context(rows, index)
        assert token["start_logit"] == pytest.approx(start, abs=1e-3)
        assert token["end_logit"] == pytest.approx(end, abs=1e-3)


def by_max_context(rows: list[Any], token: int) -> tuple[float, float]:
    """As _check_is_max_context of BERT's run_squad.py has it, word for word."""
    best_score, best = None, None
    for window, start_logits, end_logits in rows:
        length = window.last - window.first + 1
        end = window.token_offset + length - 1
        if token < window.token_offset or token > end:
            continue
        num_left_context = token - window.token_offset
        num_right_context = end - token
        score = min(num_left_context, num_right_context) + 0.01 * length
        if best_score is None or score > best_score:
            best_score = score
            at = token - window.token_offset + window.first
            best = (float(start_logits[at]), float(end_logits[at]))
    assert best is not None
    return best


def test_scores_of_an_empty_context(served: Served) -> None:
    response = served.client.post("/v1/scores", json={"question": QUESTION, "context": ""})
    assert response.json() == {"tokens": [], "windows": 1}


def test_the_bundle_is_described(served: Served) -> None:
    manifest = Bundle.load(TINY).manifest
    found = served.client.get("/v1/bundle").json()
    assert found["name"] == manifest.source.name
    assert (found["precision"], found["engine"], found["device"]) == ("fp32", "onnxruntime", "cpu")
    assert found["threads"] == 1
    assert found["receipt"] is None
    graph = manifest.graphs["fp32"]
    assert found["hashes"] == {
        entry.name: entry.sha256 for entry in (graph.file, graph.golden, manifest.tokenizer)
    }


def test_health(served: Served) -> None:
    assert served.client.get("/health/live").json() == {"status": "alive"}
    assert served.client.get("/health/ready").json() == {"status": "ready"}


def test_metrics_count_what_happened(served: Served) -> None:
    names = (
        'qa_onnx_requests_total{code="200",endpoint="/v1/answer"}',
        'qa_onnx_requests_total{code="422",endpoint="/v1/answer"}',
        'qa_onnx_requests_total{code="404",endpoint="other"}',
        'qa_onnx_errors_total{error="Problem"}',
        "qa_onnx_questions_total",
        "qa_onnx_batch_windows_sum",
        "qa_onnx_batch_tokens_sum",
        *(f'qa_onnx_stage_seconds_count{{stage="{stage}"}}' for stage in ("read", "wait", "cut", "run", "search")),
    )

    def counts() -> dict[str, float]:
        page = dict(line.rsplit(" ", 1) for line in served.client.get("/metrics").text.splitlines())
        return {name: float(page.get(name, 0)) for name in names}

    before = counts()
    served.answer({"question": QUESTION, "context": CONTEXT})
    served.answer({"question": QUESTION})
    served.client.get("/a/secret/path")
    after = counts()
    assert all(after[name] > before[name] for name in names), (before, after)
    assert after[names[0]] == before[names[0]] + 1
    page = served.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'device="cpu",engine="onnxruntime",precision="fp32"' in page.text
    assert "secret" not in page.text
    assert "qa_onnx_queue_depth 0.0" in page.text


MODEL = "/v2/models/{name}"
ENDPOINTS = {
    *("/v1/answer", "/v1/bundle", "/v1/documents", "/v1/scores", "/metrics", "/health/live", "/health/ready"),
    *("/v2", "/v2/health/live", "/v2/health/ready"),
    *(MODEL, f"{MODEL}/ready", f"{MODEL}/infer"),
    *(f"{MODEL}/versions/{{version}}{end}" for end in ("", "/ready", "/infer")),
}


def test_the_document_and_its_page_need_nothing_from_elsewhere(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    assert set(document["paths"]) == ENDPOINTS
    properties = document["components"]["schemas"]["AskOne"]["properties"]
    assert properties["doc_stride"]["maximum"] == 32
    assert properties["max_answer_length"]["maximum"] == 64
    assert properties["n_best"]["default"] == 1
    page = served.client.get("/docs")
    assert "POST /v1/answer" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_page_at_the_root_may_run_its_own_script_only(served: Served) -> None:
    response = served.client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["script-src"].startswith("'sha256-")
    assert policy["style-src"].startswith("'sha256-")
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.text.count("<script") == policy["script-src"].count("sha256-") == 1
    assert response.text.count("<style") == policy["style-src"].count("sha256-") == 1


def test_request_ids_come_back_when_they_are_plain(served: Served) -> None:
    kept = served.client.get("/health/live", headers={"X-Request-ID": "abc-1.2_3"})
    assert kept.headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 129, '"><script>', "a\tb"):
        made = served.client.get("/health/live", headers={"X-Request-ID": bad}).headers["x-request-id"]
        assert len(made) == 32
        assert made.isalnum()
    problem = served.answer({}, **{"X-Request-ID": "mine"})
    assert problem.json()["request_id"] == problem.headers["x-request-id"] == "mine"


def test_no_other_site_may_ask(served: Served) -> None:
    preflight = served.client.options(
        "/v1/answer", headers={"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    )
    assert preflight.status_code == 405
    asked = served.answer({"question": QUESTION, "context": CONTEXT}, Origin="https://example.org")
    for response in (preflight, asked):
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_flags_of_the_reader_are_the_defaults_of_requests(tiny_reader: Reader) -> None:
    flags = ("--n-best", 4, "--max-answer-length", 2, "--doc-stride", 5, "--null-threshold", "-1000000")
    context = CONTEXT * 3
    with serve(*flags) as served:
        found = served.answer({"question": QUESTION, "context": context}).json()
        changes = {"n_best": 4, "max_answer_length": 2, "doc_stride": 5}
        assert_same(found, *expected(tiny_reader, QUESTION, context, **changes))
        assert found["answer"] is None
        body = {"question": QUESTION, "context": context, "null_threshold": "bundle", "n_best": 1}
        assert served.answer(body).json()["answer"] is not None
        properties = served.client.get("/openapi.json").json()["components"]["schemas"]["AskMany"]["properties"]
        names = ("n_best", "max_answer_length", "doc_stride", "null_threshold")
        assert [properties[name]["default"] for name in names] == [4, 2, 5, -1000000]


def test_precision_and_threads_are_those_asked_for() -> None:
    with serve("--precision", "int8", threads=2) as served:
        found = served.client.get("/v1/bundle").json()
        assert (found["precision"], found["threads"]) == ("int8", 2)
        int8 = Reader.load(TINY, precision="int8", threads=1, options=Options.for_windows_of(64))
        answers, null_score = expected(int8, QUESTION, CONTEXT)
        assert_same(served.answer({"question": QUESTION, "context": CONTEXT}).json(), answers, null_score)


def test_max_batch_tokens_bounds_a_batch(served: Served) -> None:
    body = {"question": QUESTION, "context": CONTEXT * 8}
    with serve("--max-batch-tokens", 64) as narrow:
        narrow.answer(body)
        assert narrow.metric("qa_onnx_batch_windows_sum") == narrow.metric("qa_onnx_batch_windows_count") > 3
    before = served.metric("qa_onnx_batch_windows_count")
    served.answer(body)
    assert served.metric("qa_onnx_batch_windows_count") == before + 1


def test_texts_are_never_logged(tmp_path: Path) -> None:
    secret = "Zanzibar"
    with serve() as served:
        served.answer({"question": secret, "context": f"{secret} 🏝"})
        served.answer({"question": secret, "context": 3, secret: secret})
        served.client.post("/v1/answer", content=f'{{"question": "{secret}'.encode())
        served.client.get(f"/{secret}?q={secret}")
        served.client.request(secret.upper(), "/v1/answer")
        assert served.stop() == 0
        lines = served.logged()
        assert secret.lower() not in json.dumps(lines).lower()
    requests = [line for line in lines if line["message"] == "request" and line["endpoint"] != "/health/ready"]
    assert [line["code"] for line in requests] == [200, 422, 415, 404, 405]
    assert all(
        {"time", "level", "request_id", "method", "milliseconds", "process"} <= set(line) for line in requests
    )
    assert requests[0]["questions"] == 1
