"""Clients that are slow, go away or ask too much; the other clients notice nothing."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.served import Served, received, serve
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

GOOD = {"question": "Where?", "context": "Here it is, under the tower."}
HELD = {"question": "Where?", "context": "Here it is, in the soup."}  # of a batch that the gate can hold
HEAD = b"POST /v1/answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
APART = ("--max-batch-tokens", 1)  # each window runs by itself


def raw(body: Any) -> bytes:
    content = json.dumps(body).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content


def test_a_full_queue_is_429_and_health_answers_and_it_recovers() -> None:
    with serve("--max-queue", 1, gated=True) as served, served.connect() as first:
        served.gate.hold()
        first.sendall(raw(GOOD))
        served.gate.wait_for_a_run()
        eventually(lambda: served.metric("qa_onnx_queue_depth") == 1, "the first is in the queue")
        refused = served.answer(GOOD)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["title"] == "Too Many Requests"
        streamed = served.answer({"examples": [GOOD, GOOD]}, Accept="application/jsonl")
        assert streamed.status_code == served.client.post("/v1/scores", json=GOOD).status_code == 429
        assert served.client.get("/health/live").status_code == 200
        assert served.client.get("/health/ready").status_code == 200
        first.close()  # its client gives up, and its place is free
        eventually(lambda: served.metric("qa_onnx_queue_depth") == 0, "there is room")
        served.gate.release()
        assert served.answer(GOOD).status_code == 200


def test_many_wait_for_room_in_the_queue_once_they_are_in() -> None:
    with serve("--max-queue", 2) as served:
        examples = [{**GOOD, "id": number} for number in range(50)]
        results = served.answer({"examples": examples}).json()["results"]
        assert [result["id"] for result in results] == list(range(50))


def test_an_answer_that_takes_too_long_is_504() -> None:
    with serve("--timeout-s", 0.5, *APART, gated=True) as served:
        served.gate.hold("soup")
        for path, body in (("answer", HELD), ("answer", {"examples": [GOOD, HELD]}), ("scores", HELD)):
            response = served.client.post(f"/v1/{path}", json=body)
            assert response.status_code == 504
            assert "--timeout-s" in response.json()["detail"]
        counted = 'qa_onnx_errors_total{error="DeadlineError"}'
        for more in ({}, {"progress": True}):  # no line comes before the error, so there is room for its status
            assert served.answer({**HELD, **more}, Accept="application/jsonl").status_code == 504
        assert f"{counted} 5.0" in served.client.get("/metrics").text
        served.gate.release()
        eventually(
            lambda: served.answer(GOOD).status_code == 200, "it goes on, as soon as the machine is fast enough"
        )


def test_in_a_stream_what_fails_is_a_line_and_the_rest_is_answered() -> None:
    examples = [{**GOOD, "id": "short"}, {**HELD, "id": "long"}]
    with serve("--timeout-s", 2, *APART, gated=True) as served:
        served.gate.hold("soup")

        def answered() -> bool:
            response = served.answer({"examples": examples}, Accept="application/jsonl")
            assert response.status_code == 200
            first, second = (json.loads(line) for line in response.text.splitlines())
            assert (first["id"], second["id"]) == ("short", "long")
            assert second["error"]["status"] == 504
            assert second["error"]["request_id"] == response.headers["x-request-id"]
            assert "answer" not in second
            return bool(first.get("answer"))

        eventually(answered, "the first is answered in time; again, since this machine may have been busy")


def test_a_stream_begins_before_its_end_is_known() -> None:
    with serve(*APART, gated=True) as served:
        served.gate.hold("soup")
        body = {"examples": [{**GOOD, "id": 1}, {**HELD, "id": 2}]}
        with served.client.stream(
            "POST", "/v1/answer", json=body, headers={"Accept": "application/jsonl"}
        ) as response:
            lines = response.iter_lines()
            assert json.loads(next(lines))["id"] == 1
            eventually(lambda: served.metric("qa_onnx_queue_depth") == 1, "the second is not done")
            served.gate.release()
            second = json.loads(next(lines))
            assert second["id"] == 2
            assert second["answer"]


@pytest.mark.parametrize("accept", ["application/json", "application/jsonl"])
def test_when_a_client_goes_its_questions_go_too(accept: str) -> None:
    with serve(gated=True) as served:
        served.gate.hold()
        content = json.dumps({"examples": [GOOD] * 30}).encode()
        with served.connect() as connection:
            connection.sendall(
                HEAD + b"Accept: %s\r\nContent-Length: %d\r\n\r\n" % (accept.encode(), len(content)) + content
            )
            eventually(lambda: served.metric("qa_onnx_queue_depth") > 5, "its questions wait")
        eventually(lambda: served.metric("qa_onnx_queue_depth") == 0, "they are gone")
        assert served.metric("qa_onnx_questions_total") == 0
        served.gate.release()
        assert served.answer(GOOD).status_code == 200
        assert served.metric("qa_onnx_questions_total") == 1
        eventually(lambda: 499 in codes(served), "it is in the log")


def codes(served: Served) -> list[int]:
    return [line["code"] for line in served.logged() if line["message"] == "request"]


def test_a_client_that_goes_in_the_midst_of_its_body_is_forgotten() -> None:
    with serve() as served:
        with served.connect() as connection:
            connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
        eventually(lambda: 499 in codes(served), "it is in the log")
        assert served.answer(GOOD).status_code == 200


@pytest.fixture(scope="module")
def impatient() -> Iterator[Served]:
    with serve("--read-timeout-s", 1) as running:
        yield running


@pytest.mark.parametrize(
    ("head", "part"),
    [(b"Content-Length: 5000\r\n\r\n", b" "), (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")],
    ids=["body", "chunks"],
)
def test_a_client_that_sends_its_body_too_slowly_gets_408(impatient: Served, head: bytes, part: bytes) -> None:
    started = time.monotonic()
    with impatient.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.sendall(HEAD + head)
        answer = pool.submit(received, connection)
        while not answer.done():
            with suppress(OSError):  # the server has closed the connection
                connection.sendall(part)
            time.sleep(0.05)
    assert answer.result().startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started > 0.9  # and not at once
    assert impatient.answer(GOOD).status_code == 200


def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    with serve("--read-timeout-s", 1, "--timeout-s", 600, "--max-request-bytes", 10_000_000) as served:
        examples = [{"question": "Where? " * 50, "context": "x" * 2000 + str(number)} for number in range(1000)]
        content = json.dumps({"examples": examples, "n_best": 10}).encode()
        with served.connect() as connection:
            connection.sendall(
                HEAD + b"Accept: application/jsonl\r\nContent-Length: %d\r\n\r\n" % len(content) + content
            )
            eventually(lambda: 499 in codes(served), "the server gives up")
        eventually(lambda: served.metric("qa_onnx_queue_depth") == 0, "its questions are gone")


def test_slow_clients_do_not_keep_others_waiting() -> None:
    with serve("--read-timeout-s", 30) as served:
        slow = [served.connect() for _ in range(200)]
        try:
            for number, connection in enumerate(slow):
                connection.sendall(HEAD if number % 2 else HEAD + b"Content-Length: 100\r\n\r\n{")
            assert served.answer(GOOD).status_code == 200
        finally:
            for connection in slow:
                connection.close()


def test_bodies_that_wait_are_bounded_together() -> None:
    size = 2000
    with serve("--max-request-bytes", size, "--read-timeout-s", 60) as served:
        slow = [served.connect() for _ in range(80)]
        try:
            for connection in slow:
                connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % size + b" " * (size - 1))
            eventually(lambda: codes(served).count(429) >= 80 - 16, "the last ones are refused")
        finally:
            for connection in slow:
                connection.close()
        eventually(lambda: served.answer(GOOD).status_code == 200, "it recovers")


def test_no_part_of_an_answer_waits_for_the_client_to_acknowledge_another() -> None:
    from qa_onnx.serve.server import listen

    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_one_connection_may_ask_again_and_again_and_ahead() -> None:
    with serve() as served:
        closing = raw(GOOD).replace(b"Host: localhost\r\n", b"Host: localhost\r\nConnection: close\r\n")
        answers = served.exchange(raw(GOOD) * 5 + closing)
        assert answers.count(b"HTTP/1.1 200 OK") == 6


def test_concurrent_clients_each_get_their_own_answer(tiny_reader: Any) -> None:
    contexts = [
        f"The tower number {number} stands in the park near town {number}. " * (number % 7) for number in range(60)
    ]
    want = [tiny_reader.ask("Which tower?", context) for context in contexts]
    with serve("--max-wait-ms", 5) as served:

        def ask(number: int) -> bool:
            found = served.answer({"question": "Which tower?", "context": contexts[number]}).json()
            answer = found["answer"]
            if answer is None:
                return not want[number]
            same = (answer["start"], answer["end"]) == (want[number].start, want[number].end)
            return same and abs(answer["score"] - want[number].score) < 1e-4

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, [*range(60)] * 5))
        assert served.metric("qa_onnx_batch_windows_sum") > served.metric("qa_onnx_batch_windows_count")


def test_max_wait_ms_is_how_long_a_lone_question_waits() -> None:
    with serve("--max-wait-ms", 1500) as served:
        waited = served.answer(GOOD).json()["milliseconds"]
        assert waited >= 1400  # for mates that do not come
