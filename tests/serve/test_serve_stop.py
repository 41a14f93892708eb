"""Starting, stopping and several workers: what happens to requests around a signal."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from qa_onnx.cli import main
from qa_onnx.machine import cpu
from tests.conftest import TINY, edit_manifest
from tests.serve.test_serve_limits import APART, GOOD, HELD, raw
from tests.served import ROOT, Served, received, serve
from tests.waiting import PATIENCE_S, blocks, eventually, paused, state_of

pytestmark = pytest.mark.slow


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command that is expected to end by itself."""
    line = [sys.executable, "-m", "qa_onnx", "serve", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_code_0(number: int) -> None:
    with serve() as served:
        assert served.answer(GOOD).status_code == 200
        assert served.stop(number) == 0
        assert "Shutting down" in [line["message"] for line in served.logged()]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_while_it_starts_ends_it_with_code_0(workers: int) -> None:
    with serve("--workers", workers, wait=False) as served:
        assert served.stop() == 0


def refuses_connections(served: Served) -> bool:
    try:
        served.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_was_accepted_is_answered_and_later_connections_are_refused() -> None:
    with serve(gated=True) as served, served.connect() as first, served.connect() as idle:
        served.gate.hold()
        first.sendall(raw(GOOD))
        served.gate.wait_for_a_run()
        served.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses_connections(served), "it is stopping")
        assert received(idle) == b""
        assert served.process.poll() is None
        served.gate.release()
        answer = received(first)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["answer"]
        assert served.process.wait(PATIENCE_S) == 0


def test_a_stream_is_written_to_its_end() -> None:
    with serve(*APART, gated=True) as served:
        served.gate.hold("soup")
        examples = [{**body, "question": f"Where {number}?"} for number, body in enumerate((GOOD, HELD, HELD))]
        with served.client.stream(
            "POST", "/v1/answer", json={"examples": examples}, headers={"Accept": "application/jsonl"}
        ) as response:
            lines = response.iter_lines()
            first = next(lines)
            served.process.send_signal(signal.SIGTERM)
            eventually(lambda: refuses_connections(served), "it is stopping")
            served.gate.release()
            results = [json.loads(line) for line in (first, *lines)]
        assert [result["question"] for result in results] == [f"Where {n}?" for n in range(3)]
        assert all(result["answer"] for result in results)
        assert served.process.wait(PATIENCE_S) == 0


def test_a_second_signal_ends_it_at_once() -> None:
    with serve(gated=True) as served, served.connect() as first:
        served.gate.hold()
        first.sendall(raw(GOOD))
        served.gate.wait_for_a_run()
        served.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses_connections(served), "it is stopping")
        assert served.stop() == 1


def test_a_second_signal_ends_several_workers_at_once() -> None:
    with serve("--workers", 2) as served, served.connect() as slow:
        slow.sendall(raw(GOOD)[:-1])  # its worker waits for the last byte
        eventually(lambda: len(ready_processes(served)) == 2, "both are ready")
        served.process.send_signal(signal.SIGTERM)
        eventually(lambda: len(workers_of(served)) == 1, "one is stopping")
        assert served.stop() == 1
        assert not workers_of(served)


def ask_until(stop: threading.Event, served: Served, broken: list[Exception]) -> list[tuple[int, Any]]:
    """Ask again and again, until `stop` or until the connection breaks."""
    outcomes = []
    client = httpx.Client(base_url=served.client.base_url, timeout=PATIENCE_S, trust_env=False)
    with client:
        while not stop.is_set():
            try:
                response = client.post("/v1/answer", json=GOOD)
            except httpx.ConnectError:
                break  # it is gone
            except httpx.TransportError as error:
                broken.append(error)
                break
            outcomes.append((response.status_code, response.json()))
    return outcomes


def test_under_load_every_accepted_question_is_answered() -> None:
    with serve() as served:
        stop, broken = threading.Event(), list[Exception]()
        with ThreadPoolExecutor(8) as pool:
            runs = [pool.submit(ask_until, stop, served, broken) for _ in range(8)]
            eventually(lambda: served.metric("qa_onnx_questions_total") > 50, "there is load")
            code = served.stop()
            stop.set()
            outcomes = [outcome for run in runs for outcome in run.result()]
        assert code == 0
        statuses = [status for status, _ in outcomes]
        assert set(statuses) == {200}
        answered = [line for line in served.logged() if line["message"] == "request" and line.get("questions")]
        assert {line["code"] for line in answered} == {200}
        assert statuses.count(200) == len(answered)  # each one that was answered has arrived
        # A connection that idles when the server ends is closed; a client may be about to use it.
        gone = (httpx.ReadError, httpx.WriteError)
        assert all("disconnected" in str(error) or isinstance(error, gone) for error in broken)


# ---- runs that do not end


@pytest.mark.parametrize("deaf", [False, True], ids=["ended", "given up"])
@pytest.mark.parametrize("path", ["answer", "scores"])
def test_a_run_that_does_not_end_costs_only_its_own_answer(path: str, deaf: bool) -> None:
    with serve("--timeout-s", "1", "--read-timeout-s", "1", gated=True) as served:
        client = served.client
        if deaf:
            served.gate.go_deaf()
        served.gate.hold("soup")
        reasons = set()
        assert client.post(f"/v1/{path}", json=HELD).status_code == 504

        def answered() -> bool:
            ready = client.get("/health/ready")
            if ready.status_code == 503:
                reasons.add(ready.json()["detail"].partition(",")[0])
            return bool(served.answer(GOOD).status_code == 200)

        eventually(answered, "the next question is answered")
        eventually(lambda: client.get("/health/ready").status_code == 200, "it is ready")
        assert client.get("/health/live").status_code == 200
        assert ("the server is not ready: a run does not end: try again in 1 s" in reasons) == deaf
        assert any("a run does not end" in line["message"] for line in served.logged()) == deaf
        assert client.post(f"/v1/{path}", json=HELD).status_code == 504
        assert served.stop() == 0  # though a run hangs


def test_a_server_with_several_runs_that_do_not_end_says_that_only_a_restart_helps() -> None:
    with serve("--timeout-s", "0.5", gated=True) as served:
        served.gate.go_deaf()
        served.gate.hold("soup")

        def failed() -> bool:
            served.answer(HELD)
            return served.client.get("/health/live").status_code == 503

        eventually(failed, "it gives up")
        for place in ("live", "ready"):
            response = served.client.get(f"/health/{place}")
            assert response.status_code == 503
            assert "the server has failed: 4 runs do not end; restart it" in response.json()["detail"]
        assert served.stop() == 0


# ---- starting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_ends_a_load_that_does_not_end(number: int, workers: int) -> None:
    with serve("--workers", workers, gated=True, held=True, wait=False) as served:
        served.gate.wait_for_a_run()  # in the check of the model
        if workers == 1:
            assert served.client.get("/health/ready").status_code == 503
        assert served.stop(number) == 0
        assert not workers_of(served)


def test_workers_that_load_do_not_outlive_their_supervisor() -> None:
    with serve("--workers", 2, gated=True, held=True, wait=False) as served:
        served.gate.wait_for_a_run()
        workers = workers_of(served)
        served.process.kill()
        served.process.wait()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "they have ended")


@pytest.mark.parametrize("workers", [1, 2])
def test_it_needs_no_stdin(workers: int) -> None:
    with serve("--workers", workers, before="import os\nos.close(0)") as served:
        assert served.answer(GOOD).status_code == 200
        assert served.stop() == 0


NEVER_CUT = """
import threading
from qa_onnx.windows import Windower
cut = Windower.cut
def stuck(self, examples, options):
    if any("endless" in example.context for example in examples):
        threading.Event().wait()
    return cut(self, examples, options)
Windower.cut = stuck
"""


def test_work_that_nobody_waits_for_does_not_keep_it_from_ending() -> None:
    with serve("--timeout-s", "1", before=NEVER_CUT) as served:
        assert served.answer({"question": "Where?", "context": "endless"}).status_code == 504
        assert served.stop() == 0


BROKEN_CHOICE = """
from qa_onnx import AsyncReader
def choose(self, prediction, **options):
    raise RuntimeError("about Zanzibar")
AsyncReader.choose = choose
"""


def test_a_fault_of_the_server_is_500_and_the_log_says_where_but_not_what() -> None:
    body = {"question": "Zanzibar?", "context": "Zanzibar"}
    with serve(before=BROKEN_CHOICE) as served:
        response = served.answer(body)
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/problem+json"
        assert 'qa_onnx_errors_total{error="RuntimeError"} 1.0' in served.client.get("/metrics").text
        assert served.answer({"examples": [body]}, Accept="application/jsonl").status_code == 500
        assert served.client.get("/health/ready").status_code == 200
        served.stop()
        assert "Zanzibar" not in response.text + served.log.read_text()
        (failed,) = [
            line
            for line in served.logged()
            if line.get("request_id") == response.json()["request_id"] and line["level"] == "error"
        ]
    assert failed["error"] == "RuntimeError"
    assert any("choose" in place for place in failed["at"])


SLOW_LOAD = """
import pathlib, time
from qa_onnx.serve.settings import Model
load = Model.load
def slow(model):
    while not pathlib.Path({release!r}).exists():
        time.sleep(0.02)
    return load(model)
Model.load = slow
"""


def test_until_it_is_ready_it_says_so(tmp_path: Path) -> None:
    release = tmp_path / "release"
    with serve(before=SLOW_LOAD.format(release=str(release)), wait=False) as served:
        client = served.client
        assert client.get("/health/live").status_code == 200
        for response in (
            client.get("/health/ready"),
            served.answer(GOOD),
            client.post("/v1/scores", json=GOOD),
        ):
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert "starting" in response.json()["detail"]
        release.touch()
        eventually(lambda: client.get("/health/ready").status_code == 200, "ready")
        assert served.answer(GOOD).status_code == 200
        assert served.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bundle_that_answers_otherwise_here_is_not_served(tiny_copy: Path, workers: int) -> None:
    def swap(manifest: dict[str, Any]) -> None:
        fp32, int8 = (manifest["graphs"][name] for name in ("fp32", "int8"))
        fp32["golden"], int8["golden"] = int8["golden"], fp32["golden"]

    edit_manifest(tiny_copy, swap)
    done = command("-b", tiny_copy, "--precision", "fp32", "--port", 0, "--workers", workers)
    assert done.returncode == 1
    assert "gives other logits here than at export" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-b", "nowhere"], "nowhere is not a bundle"),
        (["-b", TINY, "--precision", "fp16"], "not fp16"),
        (["--api-key-file", "nowhere"], "cannot read the API keys"),
        (["--max-wait-ms", "nan"], "max_wait_ms is nan"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1 port 0"),
        (["--host", "no such host"], "cannot listen on no such host"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_1(arguments: list[Any], says: str) -> None:
    done = CliRunner().invoke(main, ["serve", "--port", "0", *map(str, arguments)])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "value", "says"), [("--doc-stride", 60, "doc_stride 60"), ("--device", "cuda", "gpu")]
)
def test_what_fails_while_it_is_loaded_is_said_too(flag: str, value: object, says: str) -> None:
    done = command("--port", 0, "-b", TINY, flag, value)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", 70000], "--port"),
        (["--workers", 0], "--workers"),
        (["--max-batch-tokens", 0], "--max-batch-tokens"),
        (["--max-wait-ms", -1], "--max-wait-ms"),
        (["--max-queue", 0], "--max-queue"),
        (["--max-request-bytes", 1], "--max-request-bytes"),
        (["--timeout-s", 0], "--timeout-s"),
        (["--read-timeout-s", 0], "--read-timeout-s"),
        (["--n-best", 101], "--n-best"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[Any], says: str) -> None:
    done = CliRunner().invoke(main, ["serve", *map(str, arguments)])
    assert done.exit_code == 2
    assert says in done.stderr


def test_a_port_in_use_is_said() -> None:
    with serve() as served:
        done = command("-b", TINY, "--port", served.port)
    assert done.returncode == 1
    assert f"port {served.port}" in done.stderr
    assert "in use" in done.stderr


@pytest.mark.parametrize(("flags", "other"), [((), False), (("--host", "0.0.0.0"), True)])
def test_it_listens_on_the_loopback_unless_told(flags: tuple[str, ...], other: bool) -> None:
    with serve(*flags) as served:
        with socket.socket() as connection:  # Linux answers at all of 127.0.0.0/8, if the server listens there
            assert (connection.connect_ex(("127.0.0.2", served.port)) == 0) == other
        assert any("--api-key-file" in line["message"] for line in served.logged()) == other


# ---- workers


def workers_of(served: Served) -> set[int]:
    """Return the processes that `multiprocessing` has started for the server, without its resource tracker."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):  # it has just ended
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == served.process.pid and "--multiprocessing-fork" in (folder / "cmdline").read_text():
                found.add(int(folder.name))
    return found


def ready_processes(served: Served) -> set[int]:
    return {line["process"] for line in served.logged() if line["message"] == "ready"}


def test_workers_share_the_port_and_their_metrics_are_summed() -> None:
    with serve("--workers", 2) as served:
        eventually(lambda: len(ready_processes(served)) == 2, "both are ready")
        assert ready_processes(served) == workers_of(served)
        for worker in workers_of(served):
            with paused(worker):  # so that the other one accepts
                assert [ask_afresh(served) for _ in range(10)] == [200] * 10
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask_afresh, [served] * 80)) == {200}
        assert served.metric("qa_onnx_questions_total") == 100
        assert served.metric("qa_onnx_batch_windows_sum") == 100
        assert "qa_onnx_bundle_info{" in served.client.get("/metrics").text
        eventually(lambda: asked_of(served).total() == 100, "all are in the log")
        assert len(asked_of(served)) == 2
        assert min(asked_of(served).values()) >= 10
        assert served.stop() == 0
        assert not workers_of(served)


def asked_of(served: Served) -> Counter[int]:
    """Count the requests with questions of each process."""
    return Counter(line["process"] for line in served.logged() if line.get("questions"))


def messages_of(served: Served, process: int) -> list[str]:
    return [line["message"] for line in served.logged() if line["process"] == process]


def ask_afresh(served: Served) -> int:
    """Ask over a new connection; return the status."""
    return httpx.post(f"{served.client.base_url}/v1/answer", json=GOOD, timeout=PATIENCE_S).status_code


def test_workers_accept_nothing_before_they_can_answer() -> None:
    with serve("--workers", 3, wait=False) as served:
        with ThreadPoolExecutor(8) as pool:  # these wait for the first one, and come to the others as they start
            assert set(pool.map(ask_afresh, [served] * 64)) == {200}
        eventually(lambda: asked_of(served).total() == 64, "all are in the log")
        for process in asked_of(served):
            messages = messages_of(served, process)
            assert messages.index("ready") < messages.index("request")


def test_a_killed_worker_is_replaced_and_the_others_go_on() -> None:
    with serve("--workers", 2) as served:
        eventually(lambda: len(ready_processes(served)) == 2, "both are ready")
        before = ready_processes(served)
        victim = min(workers_of(served))
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: state_of(victim) in {"Z", ""}, "it is dead, and accepts nothing more")
        statuses: list[int] = []
        with ThreadPoolExecutor(8) as pool:

            def replaced() -> bool:  # the new one takes no connection before it can answer
                statuses.extend(pool.map(ask_afresh, [served] * 8))
                return len(ready_processes(served)) == 3

            eventually(replaced, "there is a new one")
        assert set(statuses) == {200}
        assert len(workers_of(served)) == 2
        assert victim not in workers_of(served)
        assert all(blocks(worker, signal.SIGINT) for worker in workers_of(served))  # a terminal's Ctrl-C, too
        assert served.metric("qa_onnx_questions_total") >= len(statuses)
        (new,) = ready_processes(served) - before
        eventually(lambda: "Application startup complete." in messages_of(served, new), "the new one takes part")
        assert f"Child process [{victim}] died" in messages_of(served, served.process.pid)
        assert served.metric("qa_onnx_queue_depth") == 0  # without that of the victim
        assert served.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTTIN, signal.SIGHUP], ids=["another worker", "new workers for all"])
def test_workers_that_start_later_do_not_get_the_interrupts_of_a_terminal(number: int) -> None:
    with serve("--workers", 2) as served:
        eventually(lambda: len(ready_processes(served)) == 2, "both are ready")
        before = workers_of(served)
        served.process.send_signal(number)
        expected = 3 if number == signal.SIGTTIN else 4
        eventually(lambda: len(ready_processes(served)) == expected, "the new ones are ready")
        new = workers_of(served) - before
        assert len(new) == expected - 2
        assert all(blocks(worker, signal.SIGINT) for worker in new)
        assert served.stop(signal.SIGINT) == 0
        assert not workers_of(served)


def test_a_killed_worker_takes_only_its_own_requests_along() -> None:
    with serve("--workers", 2, *APART, gated=True) as served:
        eventually(lambda: len(ready_processes(served)) == 2, "both are ready")
        victim, other = workers_of(served)
        served.gate.hold("soup")
        with paused(other):  # so that the victim accepts
            lost = served.connect()
            lost.sendall(raw(HELD))
            served.gate.wait_for_a_run()
        with lost:
            eventually(lambda: served.metric("qa_onnx_queue_depth") == 1, "the sum over both workers")
            os.kill(victim, signal.SIGKILL)
            assert received(lost) == b""
        eventually(lambda: served.metric("qa_onnx_queue_depth") == 0, "the victim's question is gone")
        assert ask_afresh(served) == 200
        assert served.stop() == 0


def test_workers_do_not_outlive_their_supervisor() -> None:
    with serve("--workers", 2) as served:
        workers = workers_of(served)
        assert len(workers) == 2
        served.process.kill()
        served.process.wait()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "they have ended")


@pytest.mark.parametrize(("workers", "threads"), [(1, 7), (2, 3), (9, 1)])
def test_the_cores_are_split_between_workers(workers: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from qa_onnx.cli.options import ReaderSettings
    from qa_onnx.cli.serve import model

    monkeypatch.setattr(cpu, "default_threads", lambda: 7)
    unset: dict[str, Any] = dict.fromkeys(ReaderSettings.__dataclass_fields__)
    settings = ReaderSettings(**unset | {"bundle": TINY, "null_threshold": "bundle"})
    assert model(settings, workers).runtime.threads == threads


def test_keys_and_limits_hold_in_workers_too(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("only-key-0123456789", encoding="ascii")
    with serve("--workers", 2, "--api-key-file", path, "--max-request-bytes", 2000) as served:
        assert served.answer(GOOD).status_code == 401
        key = {"Authorization": "Bearer only-key-0123456789"}
        assert served.answer(GOOD, **key).status_code == 200
        assert served.answer({**GOOD, "context": "x" * 3000}, **key).status_code == 413
        assert served.stop(signal.SIGINT) == 0
