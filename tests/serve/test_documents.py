"""Documents over HTTP: files become texts, several texts are asked, and long ones report their progress."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import Example, Reader
from qa_onnx.bundle.folder import default_bundle
from qa_onnx.documents import Document, read_document_bytes
from qa_onnx.retrieval import PassageIndex, ask_all, ask_documents
from qa_onnx.serve.results import LICENCES
from tests.documents.made import paragraph, pdf, word_archive
from tests.served import Served, serve
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

pytestmark = pytest.mark.slow

PAGES = (
    "The tower 🗼 stands near the harbour.".replace("🗼", ""),
    "The rent is due on the fifth day of the month.",
)
QUESTION = "When is the rent due?"
LONG = "The tower is red and the door is blue. " * 300
LINES = "application/jsonl"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve("--max-request-bytes", 100_000) as running:
        yield running


def read(served: Served, data: bytes, name: str = "", **headers: str) -> httpx.Response:
    named = {"Content-Disposition": f'attachment; filename="{name}"'} if name else {}
    return served.client.post("/v1/documents", content=data, headers={**named, **headers})


def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


FILES = {
    "lease.pdf": pdf(*PAGES),
    "lease.docx": word_archive(paragraph("First.") + paragraph("The rent is due on the fifth day.")),
    "lease.html": b"<html><body><h1>Lease</h1><p>The rent is <b>due</b> on the fifth day.</p></body></html>",
    "lease.md": b"# Lease\n\nThe rent is *due* on the fifth day.\n",
    "lease.csv": b"what,when\nrent,fifth day\n",
    "lease.txt": "The rent is due on the 5ᵗʰ day\fof the month.\r\n".encode(),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_becomes_the_text_that_the_library_makes_of_it(served: Served, name: str) -> None:
    response = read(served, FILES[name], name)
    assert response.status_code == 200, response.text
    expected = read_document_bytes(FILES[name], name)
    found = {"name": name, "kind": expected.kind, "pages": expected.pages, "text": expected.text}
    assert response.json() == found
    assert expected.pages == (2 if name in {"lease.pdf", "lease.txt"} else 1)


def test_names_of_any_language_and_none(served: Served) -> None:
    header = "attachment; filename*=UTF-8''Vertr%C3%A4ge%2F%E5%A5%91%E7%B4%84.md"
    found = served.client.post("/v1/documents", content=b"# A", headers={"Content-Disposition": header}).json()
    assert (found["name"], found["kind"]) == ("Verträge/契約.md", "markdown")
    assert read(served, FILES["lease.pdf"]).json()["kind"] == "pdf"  # by its content
    assert read(served, b"# A").json() == {"name": "document", "kind": "text", "pages": 1, "text": "# A"}


@pytest.mark.parametrize(
    ("data", "name", "status", "message"),
    [
        (b"%PDF-1.4 nonsense", "x.pdf", 422, "x.pdf: damaged PDF"),
        (b"\x89PNG\r\n\x1a\n\x00", "x.png", 422, "is a PNG image"),
        (b'a,"b', "x.csv", 422, "line 1: expected a row"),
        (
            b"x" * 100_001,
            "x.txt",
            422,
            "100,000 characters of text: split it, or start the server with a higher --max-request-bytes",
        ),
        (b"<div>" * 600 + b"x", "x.html", 422, "500 elements inside of each other: split it"),
        (b"x" * 800_001, "x.pdf", 413, "larger than 800000 bytes"),
        (b"x", "y" * 1001, 422, "the name of the file has 1,001 characters: send at most 1,000"),
    ],
)
def test_files_that_are_refused(served: Served, data: bytes, name: str, status: int, message: str) -> None:
    response = read(served, data, name)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert message in response.json()["detail"]
    assert "Limits(" not in response.text  # of the library
    assert "Python" not in response.text


def test_a_compressed_body_is_refused(served: Served) -> None:
    assert read(served, b"x", "x.txt", **{"Content-Encoding": "gzip"}).status_code == 415


def test_a_file_may_be_larger_than_a_question(served: Served) -> None:
    assert read(served, pdf(*PAGES) + b"\n%" + b"x" * 300_000, "x.pdf").status_code == 200


def test_a_missing_extra_is_told() -> None:
    before = "import sys\nsys.modules['pypdfium2'] = sys.modules['bm25s'] = None"
    with serve(before=before) as served:
        response = read(served, FILES["lease.pdf"], "lease.pdf")
        assert response.status_code == 501
        assert "documents" in response.json()["detail"]
        assert read(served, b"plain", "lease.txt").status_code == 200
        response = served.answer({"question": "a", "documents": [{"name": "a", "text": "b"}]})
        assert response.status_code == 501
        assert "search" in response.json()["detail"]


def test_a_file_is_as_locked_as_a_question(served: Served) -> None:
    assert read(served, b"x", "x.txt", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert read(served, b"x", "x.txt", Host="evil.example").status_code == 421


DOCUMENTS = [
    {"name": "a.txt", "text": "🗼 The tower is red.\fIt stands in the park.\n\nThe door 🚪 is blue."},
    {"name": "b.txt", "text": "The boat is white. " * 90},
]


@pytest.mark.parametrize("unit", ["character", "utf16", "utf8"])
def test_several_documents_answer_as_in_the_library(served: Served, tiny_reader: Reader, unit: str) -> None:
    body = {
        "question": "What is blue?",
        "documents": DOCUMENTS,
        "n_best": 5,
        "offset_unit": unit,
        "evidence": True,
    }
    response = served.answer({**body, "offset_unit": unit})
    assert response.status_code == 200, response.text
    found = response.json()
    documents = [Document(one["name"], one["text"]) for one in DOCUMENTS]

    expected = ask_documents(
        tiny_reader, "What is blue?", documents, options=replace(tiny_reader.options, n_best=5)
    )
    assert [one["text"] for one in found["answers"]] == [one.text for one in expected.answers]
    assert [one["document"] for one in found["answers"]] == [one.document for one in expected.answers]
    assert (found["read"], found["passages"]) == (expected.read, expected.passages)
    assert found["null_probability"] == pytest.approx(expected.null_probability, abs=1e-4)
    assert found["null_score"] == 0
    codec, size = {"character": ("utf-32-le", 4), "utf16": ("utf-16-le", 2), "utf8": ("utf-8", 1)}[unit]
    texts = {one["name"]: one["text"].encode(codec) for one in DOCUMENTS}
    for one, answer in zip(found["answers"], expected.answers, strict=True):
        text = texts[one["document"]]
        assert text[size * one["start"] : size * one["end"]].decode(codec) == one["text"]
        assert one["score"] == pytest.approx(answer.score, abs=1e-3)
        sentence = one["evidence"]["sentence"]
        assert text[size * sentence["start"] : size * sentence["end"]].decode(codec) == sentence["text"]
        [whole] = [known["text"] for known in DOCUMENTS if known["name"] == one["document"]]
        assert one["evidence"]["page"] == 1 + whole.count("\f", 0, answer.start)


@pytest.mark.parametrize("read", [50, 1])
def test_all_answers_are_those_of_the_library(served: Served, tiny_reader: Reader, read: int) -> None:
    asked = {"question": "What is blue?", "documents": DOCUMENTS, "read": read, "all": True}
    response = served.answer({**asked, "null_threshold": None, "min_probability": 0.02})
    assert response.status_code == 200, response.text
    found = response.json()
    index = PassageIndex.of(Document(one["name"], one["text"]) for one in DOCUMENTS)
    options = replace(tiny_reader.options, null_threshold=None, min_probability=0.02)
    expected = ask_all(tiny_reader, "What is blue?", index, read=read, options=options)
    assert [(one["document"], one["start"], one["end"], one["text"]) for one in found["answers"]] == [
        (one.document, one.start, one.end, one.text) for one in expected.answers
    ]
    assert [one["probability"] for one in found["answers"]] == pytest.approx(
        [one.probability for one in expected.answers], abs=1e-4
    )
    assert (found["read"], found["passages"]) == (expected.read, expected.passages)
    assert len(found["answers"]) > (5 if read > 1 else 1)  # n_best is 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"documents": []}, "documents: List should have at least 1 item"),
        ({"documents": [{"name": "", "text": "x"}]}, "documents.0.name: String should have at least 1 character"),
        ({"documents": [{"name": "a"}]}, "documents.0.text: Field required"),
        ({"documents": DOCUMENTS[:1] * 2}, "two documents have the name 'a.txt'"),
        ({"all": 1}, "all: Input should be a valid boolean"),
        ({"read": 0}, "read: Input should be greater than or equal to 1"),
        ({"read": 1001}, "read: Input should be less than or equal to 1000"),
        ({"context": "x"}, "context: Extra inputs are not permitted"),
        ({"progress": 1}, "progress: Input should be a valid boolean"),
    ],
)
def test_wrong_questions_of_documents(served: Served, change: dict[str, Any], message: str) -> None:
    response = served.answer({"question": "Who?", "documents": DOCUMENTS, **change})
    assert response.status_code == 422
    assert message in response.json()["detail"]


def test_documents_without_text_have_no_answer(served: Served) -> None:
    found = served.answer({"question": "Who?", "documents": [{"name": "a", "text": ""}]}).json()
    assert (found["state"], found["answers"], found["read"]) == ("none", [], 0)


def test_progress_of_documents_comes_before_the_result(served: Served) -> None:
    body = {"question": "What?", "documents": [{"name": "a", "text": "\n\n".join([LONG] * 3)}], "read": 9}
    plain = served.answer(body).json()
    *progress, last = lines_of(served.answer({**body, "progress": True}, Accept=LINES))
    assert [list(one) for one in progress] == [["progress"]] * len(progress)
    counts = [one["progress"] for one in progress]
    assert {one["total"] for one in counts} == {9}
    done = [one["done"] for one in counts]
    assert done == sorted(done)
    assert last["answers"] == plain["answers"]
    assert (
        lines_of(served.answer(body, Accept=LINES))[0]["answers"] == plain["answers"]
    )  # nothing else was asked for
    assert served.answer({**body, "progress": True}).json()["answers"] == plain["answers"]  # nor lines


def test_progress_of_a_long_context_counts_windows(tiny_reader: Reader) -> None:
    with serve("--max-batch-tokens", 384) as served:  # a window at a time
        [cut] = tiny_reader.steps.cut([Example("What?", LONG)], tiny_reader.options)
        before = served.metric("qa_onnx_questions_total")
        response = served.answer({"question": "What?", "context": LONG, "progress": True}, Accept=LINES)
        assert response.headers["content-type"] == LINES
        *progress, last = lines_of(response)
        assert progress
        assert {one["progress"]["total"] for one in progress} == {len(cut.windows)}
        assert last["answers"] == served.answer({"question": "What?", "context": LONG}).json()["answers"]
        assert served.metric("qa_onnx_questions_total") == before + 2


def test_passages_of_documents_are_one_question(served: Served) -> None:
    before = served.metric("qa_onnx_questions_total")
    served.answer({"question": "What?", "documents": DOCUMENTS})
    assert served.metric("qa_onnx_questions_total") == before + 1
    assert [one.get("questions") for one in served.logged() if one.get("endpoint") == "/v1/answer"][-1] == 1


def test_many_documents_leave_room_for_others() -> None:
    documents = [{"name": str(number), "text": f"{LONG} tower {number}"} for number in range(20)]
    with serve("--max-queue", 8, gated=True) as served, ThreadPoolExecutor(1) as pool:
        served.gate.hold()
        waiting = pool.submit(served.answer, {"question": "What?", "documents": documents, "read": 20})
        served.gate.wait_for_a_run()
        assert 1 <= served.metric("qa_onnx_queue_depth") <= 4  # of 20 passages
        served.gate.release()
        assert waiting.result(PATIENCE_S).json()["read"] == 20


def test_a_client_that_goes_away_stops_the_reading() -> None:
    documents = [{"name": str(number), "text": f"{LONG} tower {number}"} for number in range(9)]
    body = json.dumps({"question": "What?", "documents": documents, "progress": True}).encode()
    head = f"POST /v1/answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: {LINES}\r\n"
    with serve(gated=True) as served:
        served.gate.hold()
        with served.connect() as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            served.gate.wait_for_a_run()
        eventually(lambda: served.metric("qa_onnx_queue_depth") == 0, "nothing of it waits")
        served.gate.release()
        eventually(lambda: 499 in {one.get("code") for one in served.logged()}, "the log tells")


def test_time_that_runs_out_is_a_problem_before_the_first_line() -> None:
    with serve("--timeout-s", 0.5, gated=True) as served:
        served.gate.hold()
        for body in ({"context": "The boat is blue."}, {"documents": DOCUMENTS}):
            response = served.answer({"question": "What?", "progress": True, **body}, Accept=LINES)
            assert response.status_code == 504, response.text
            assert "--timeout-s" in response.json()["detail"]


def test_the_document_of_the_api_names_it_all(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    operation = document["paths"]["/v1/documents"]["post"]
    assert list(operation["requestBody"]["content"]) == ["application/octet-stream"]
    assert operation["parameters"][0]["name"] == "Content-Disposition"
    schemas = document["components"]["schemas"]
    [example] = schemas["AskDocuments"]["examples"]
    assert served.answer(example).status_code == 200
    assert {"read", "passages", "stopped"} <= set(schemas["DocumentsResult"]["properties"])
    assert schemas["AskDocuments"]["properties"]["n_best"]["default"] == 1
    assert "/v1/documents" in served.client.get("/docs").text


def test_the_default_bundle_tells_its_licence(served: Served) -> None:
    assert served.client.get("/v1/bundle").json()["licence"] is None
    manifest = json.loads((default_bundle() / "bundle.json").read_text(encoding="utf-8"))
    assert LICENCES[manifest["source"]["sha256"]]["name"] == "CC BY-SA 4.0"


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_the_processes_of_parsers_end_with_the_server() -> None:
    with serve() as served:
        read(served, FILES["lease.pdf"], "lease.pdf")
        children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
        tasks = Path(f"/proc/{served.process.pid}/task").iterdir()
        pids = [pid for task in tasks for pid in (task / "children").read_text(encoding="ascii").split()]
        assert children.exists()
        assert served.stop() == 0
        eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids), "they are gone")
