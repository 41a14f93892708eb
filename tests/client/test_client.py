"""Client and AsyncClient against a real server: the answers of a Reader, and every way in which there is none."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.utils import formatdate
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import Answer, DeadlineError, Example, InputError, Options, Reader, ServerError
from tests.conftest import TINY
from tests.fresh import printed
from tests.served import ROOT, Served, serve
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

import httpx

from qa_onnx.client import AsyncClient, Client, sync_client
from qa_onnx.client.attempts import retry_after

pytestmark = pytest.mark.slow

BOAT = ("What colour is the boat?", "The boat is blue and the sail is white.")
KEY = "a-key-of-enough-length"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.load(TINY, precision="fp32", threads=1)


@pytest.fixture(params=["Client", "AsyncClient"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Calls a method of a new client of either kind: `call(url, "ask", ...)`."""

    def sync(url: str, method: str, *texts: Any, client: dict[str, Any] | None = None, **options: Any) -> Any:
        with Client(url, **client or {}) as asking:
            return getattr(asking, method)(*texts, **options)

    def with_asyncio(
        url: str, method: str, *texts: Any, client: dict[str, Any] | None = None, **options: Any
    ) -> Any:
        async def run() -> Any:
            async with AsyncClient(url, **client or {}) as asking:
                return await getattr(asking, method)(*texts, **options)

        return asyncio.run(run())

    return sync if request.param == "Client" else with_asyncio


def url_of(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}"


def close_to(answer: Answer) -> Any:
    """An answer with its scores up to rounding, since the server's batches may be others."""
    near: dict[str, Any] = {name: pytest.approx(getattr(answer, name)) for name in ("score", "probability")}
    return dataclasses.replace(answer, **near)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_best": 3, "overlapping": True},
        {"null_threshold": -1000.0},
        {"min_probability": 1.0},
        {"null_threshold": None},
    ],
    ids=str,
)
def test_answers_are_those_of_a_reader(
    served: Served, reader: Reader, call: Callable[..., Any], options: dict[str, Any]
) -> None:
    expected = reader.ask(*BOAT, options=dataclasses.replace(reader.options, **options))
    found = call(url_of(served), "ask", *BOAT, **options)
    assert found == close_to(expected)
    assert (bool(found), found.state) == (bool(expected), expected.state)


def test_an_option_that_the_server_does_not_have_is_a_problem(served: Served, call: Callable[..., Any]) -> None:
    with pytest.raises(ServerError) as caught:
        call(url_of(served), "ask", *BOAT, n_best=0)
    error = caught.value
    assert (error.status, error.errors[0][0], error.retry_after_s) == (422, "#/n_best", None)
    assert error.detail in str(error)
    assert len(error.request_id) == 32
    again = pickle.loads(pickle.dumps(error))
    assert (again.status, again.detail, str(again)) == (422, error.detail, str(error))


def test_many_questions_keep_their_order_over_several_requests(
    served: Served, reader: Reader, call: Callable[..., Any]
) -> None:
    examples = [(f"What is {number}?", f"It is {number}. " * (number % 7 + 1)) for number in range(150)]
    before = served.metric("qa_onnx_request_seconds_count")
    found = call(url_of(served), "predict", (Example(*texts) for texts in examples), n_best=2)
    assert served.metric("qa_onnx_request_seconds_count") - before == 3 + 1  # and the page of metrics itself
    expected = reader.predict(examples, options=dataclasses.replace(reader.options, n_best=2))
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.answers == tuple(map(close_to, theirs.answers))
        assert mine.answer == close_to(reader.choose(theirs))
        assert (mine.null_score, mine.warnings) == (pytest.approx(theirs.null_score), theirs.warnings)
        assert mine.milliseconds > 0
    assert repr(found[0]).startswith("ServedPrediction(2 answers, best=Answer(")
    assert found[0].to_dict()["answer"] == found[0].answer.to_dict()
    assert call(url_of(served), "predict", []) == []


def test_long_contexts_share_no_request_that_is_too_large(served: Served, call: Callable[..., Any]) -> None:
    found = call(
        url_of(served), "predict", [("What is it?", f"It is {number}. " + "ö" * 100_000) for number in range(8)]
    )
    assert len(found) == 8
    with pytest.raises(ServerError, match="the body is larger than 1048576 bytes") as caught:
        call(url_of(served), "ask", "What is it?", "x" * (1 << 20))
    assert caught.value.status == 413


def test_health_and_bundle(served: Served, call: Callable[..., Any]) -> None:
    assert call(url_of(served), "is_alive") is True
    assert call(url_of(served), "is_ready") is True
    assert call(url_of(served), "wait_until_ready") is None
    assert call(url_of(served), "bundle")["precision"] == "fp32"


@contextmanager
def nothing_listens() -> Iterator[str]:
    """An address at which connections are refused."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}"


def test_a_server_that_is_not_there(call: Callable[..., Any]) -> None:
    with nothing_listens() as url:
        assert call(url, "is_ready") is call(url, "is_alive") is False
        with pytest.raises(ServerError, match=f"cannot reach {url}/v1/answer: ConnectError") as caught:
            call(url, "ask", *BOAT, client={"retries": 1})
        assert caught.value.status is None
        with pytest.raises(DeadlineError, match=r"was not ready within 0\.5 s"):
            call(url, "wait_until_ready", 0.5)


def test_keys(tmp_path: Any, call: Callable[..., Any]) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o600)
    with serve("--api-key-file", file) as locked:
        assert call(url_of(locked), "ask", *BOAT, client={"api_key": KEY}).text
        for client in ({}, {"api_key": "another-key-of-length"}):
            with pytest.raises(ServerError, match="an API key is needed") as caught:
                call(url_of(locked), "ask", *BOAT, client=client)
            assert caught.value.status == 401
    assert KEY not in repr(Client(api_key=KEY)) + repr(AsyncClient(api_key=KEY))


def test_a_starting_server_is_waited_for(call: Callable[..., Any]) -> None:
    with serve(gated=True, held=True, wait=False) as starting, ThreadPoolExecutor(1) as pool:
        eventually(lambda: starting.client.get("/health/live").status_code == 200, "alive")
        assert call(url_of(starting), "is_ready") is False
        with pytest.raises(ServerError, match="the server is starting") as caught:
            call(url_of(starting), "ask", *BOAT, client={"retries": 0})
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1.0)
        asked = pool.submit(call, url_of(starting), "ask", *BOAT, client={"retries": 1000})
        eventually(lambda: starting.metric("qa_onnx_errors_total") >= 3, "it was asked again")
        starting.gate.release()
        assert asked.result(PATIENCE_S).text


def test_a_full_queue_is_waited_for(call: Callable[..., Any]) -> None:
    with serve("--max-queue", 1, gated=True) as busy, ThreadPoolExecutor(2) as pool:
        busy.gate.hold()
        first = pool.submit(call, url_of(busy), "ask", *BOAT)
        busy.gate.wait_for_a_run()
        with pytest.raises(ServerError, match="too many questions are waiting") as caught:
            call(url_of(busy), "ask", *BOAT, client={"retries": 0})
        assert caught.value.status == 429
        assert caught.value.retry_after_s is not None
        with pytest.raises(ServerError, match="too many questions"):  # the wait would end after the deadline
            call(url_of(busy), "ask", *BOAT, timeout_s=0.9)
        second = pool.submit(call, url_of(busy), "ask", *BOAT, client={"retries": 1000})
        eventually(lambda: busy.metric("qa_onnx_errors_total") >= 3, "it was refused")
        busy.gate.release()
        assert first.result(PATIENCE_S) == second.result(PATIENCE_S)


def test_an_answer_that_does_not_come(call: Callable[..., Any]) -> None:
    with serve(gated=True) as held:
        held.gate.hold()
        with pytest.raises(
            DeadlineError, match=r"no answer from http://\S+/v1/answer within 0.5 s: send less at once"
        ):
            call(url_of(held), "ask", *BOAT, timeout_s=0.5)
        with pytest.raises(DeadlineError):
            call(url_of(held), "predict", [BOAT], client={"timeout_s": 0.5})
    with serve("--timeout-s", 0.5, gated=True) as impatient:
        impatient.gate.hold()
        with pytest.raises(ServerError, match="the answer took longer than the server's --timeout-s") as caught:
            call(url_of(impatient), "ask", *BOAT)
        assert caught.value.status == 504


@contextmanager
def canned(*replies: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends one of these to each connection, and closes it; the last one again and again."""
    seen: list[bytes] = []

    def work() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    seen.append(connection.recv(65536))
                    connection.sendall(replies[min(len(seen), len(replies)) - 1])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def reply(status: str, content: bytes, *headers: str) -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers))
    return head.encode() + b"\r\n\r\n" + content


RESULT = (
    b'{"question":"?","state":"answer","answers":[{"text":"blue","start":12,"end":16,"score":5.0,"probability":0.9}],'
    b'"null_score":0.0,"null_probability":0.01,"warnings":[],"milliseconds":1.0,"later":1}'
)
GOOD = reply("200 OK", RESULT)


def test_a_broken_connection_and_a_proxy_without_a_server_are_tried_again(call: Callable[..., Any]) -> None:
    with canned(
        b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", reply("502 Bad Gateway", b"<html>"), GOOD
    ) as (
        url,
        seen,
    ):
        assert call(f"{url}/below/", "ask", *BOAT) == Answer("blue", 12, 16, 5.0, 0.9)
        assert len(seen) == 4
        assert all(request.startswith(b"POST /below/v1/answer HTTP/1.1\r\n") for request in seen)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>hello", "the reply is not one of qa-onnx serve"),
        (b"{}", "missing required field"),
        (b"", "truncated"),
    ],
)
def test_a_server_that_is_another_one(call: Callable[..., Any], content: bytes, said: str) -> None:
    with canned(reply("200 OK", content)) as (url, seen):
        with pytest.raises(ServerError, match=said):
            call(url, "ask", *BOAT)
        assert len(seen) == 1
    said = "status 404: it is no answer of qa-onnx serve, but 'text/html'"
    missing = canned(reply("404 Not Found", content, "Content-Type: text/html"))
    with missing as (url, _), pytest.raises(ServerError, match=said):
        call(url, "ask", *BOAT)


def test_results_that_are_not_those_of_the_questions(call: Callable[..., Any]) -> None:
    one = canned(reply("200 OK", b'{"results":[' + RESULT + b"]}"))
    with one as (url, _), pytest.raises(ServerError, match="1 results for 2 questions"):
        call(url, "predict", [BOAT, BOAT])


def waits_of(monkeypatch: pytest.MonkeyPatch, *replies: bytes, **client: Any) -> list[float]:
    waits: list[float] = []
    clock = SimpleNamespace(sleep=waits.append, monotonic=time.monotonic)
    monkeypatch.setattr(sync_client, "time", clock)
    with canned(*replies) as (url, _), Client(url, **client) as asking:
        assert asking.ask(*BOAT).text == "blue"
    return waits


def test_the_servers_time_is_waited_and_else_twice_as_long_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = reply("429 Too Many Requests", b'{"detail":"busy"}', "Retry-After: 7")
    [first, second] = waits_of(monkeypatch, busy, busy, GOOD)
    assert 7 < first < 8
    assert 7 < second < 8
    waits = waits_of(monkeypatch, *[reply("503 Service Unavailable", b"")] * 8, GOOD, retries=8)
    assert len(waits) == 8
    for number, wait in enumerate(waits):
        longest = min(5.0, 0.1 * 2**number)
        assert longest / 2 <= wait <= longest


def test_a_date_to_come_back_at() -> None:
    assert retry_after("0") == 0.0
    assert 50 < (retry_after(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60
    assert retry_after(formatdate(0, usegmt=True)) == 0.0
    assert [retry_after(value) for value in ("", "soon", "-1", "1.5", "9" * 30)] == [None] * 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"url": "127.0.0.1:8000"}, "url is '127.0.0.1:8000'; it must be one such as"),
        ({"url": "ftp://host"}, "url is"),
        ({"url": "http://"}, "url is"),
        ({"url": "http://host\n"}, "url is"),
        ({"url": "http://host/?q=1"}, "url is"),
        ({"url": None}, "url is None"),
        ({"api_key": "with\nline"}, "api_key must be a str of ASCII characters"),
        ({"api_key": ""}, "api_key must be"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"timeout_s": float("nan")}, "timeout_s is nan"),
        ({"retries": -1}, "retries is -1"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_arguments_that_cannot_be_used(kind: Any, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        kind(**arguments)
    assert "with\nline" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        ((1, "x"), {}, "the question must be a str"),
        (("x", None), {}, "the context must be a str"),
        (("x", "\ud800"), {}, "half of a surrogate pair"),
        (("x", "y"), {"null_threshold": float("nan")}, "cannot be sent as JSON"),
        (("x", "y"), {"n_best": Options()}, "cannot be sent as JSON"),
        (("x", "y"), {"timeout_s": -1}, "timeout_s is -1"),
    ],
)
def test_questions_that_cannot_be_sent(
    call: Callable[..., Any], texts: Any, options: dict[str, Any], said: str
) -> None:
    with nothing_listens() as url, pytest.raises(InputError, match=said):
        call(url, "ask", *texts, **options)


def test_what_is_no_example_is_refused(call: Callable[..., Any]) -> None:
    with nothing_listens() as url, pytest.raises(InputError, match="an example must be an Example"):
        call(url, "predict", ["text"])


def test_many_threads_share_a_client(served: Served) -> None:
    with Client(url_of(served)) as client, ThreadPoolExecutor(8) as pool:
        assert len({answer.text for answer in pool.map(lambda _: client.ask(*BOAT), range(40))}) == 1


def test_an_http_client_of_the_callers_is_used_and_stays_open(served: Served) -> None:
    with httpx.Client(headers={"X-Request-ID": "mine"}) as http:
        with Client(url_of(served), http=http) as client, pytest.raises(ServerError) as caught:
            client.ask(*BOAT, n_best=0)
        assert caught.value.request_id == "mine"
        assert not http.is_closed
    client = Client()
    client.close()
    client.close()

    async def run() -> None:
        async with httpx.AsyncClient() as http:
            async with AsyncClient(url_of(served), http=http) as client:
                assert (await client.ask(*BOAT)).text
            assert not http.is_closed

    asyncio.run(run())


def test_a_task_that_is_cancelled_stops_asking() -> None:
    async def run(url: str) -> None:
        async with AsyncClient(url) as client:
            task = asyncio.create_task(client.ask(*BOAT))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with serve(gated=True) as held:
        held.gate.hold()
        asyncio.run(run(url_of(held)))


def test_what_the_page_shows_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^```py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    with serve("--precision", "int8", bundle=ROOT / "exported" / "minilm-squad") as running:
        exec(first.replace("http://127.0.0.1:8000", url_of(running)), {})
        names: dict[str, Any] = {"key": KEY, "question": BOAT[0], "text": BOAT[1]}
        exec(second.replace("https://example.org/qa", url_of(running)), names)
    assert names["answer"].text == "blue"
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["Ida", "1887"]


def test_it_is_imported_when_it_is_used_and_says_what_is_missing() -> None:
    assert printed("import sys, qa_onnx, qa_onnx.client; print('httpx' in sys.modules)") == "False\n"
    code = "from qa_onnx.client import Client; import sys; print({'onnxruntime', 'fastapi'} & set(sys.modules))"
    assert printed(code) == "set()\n"
