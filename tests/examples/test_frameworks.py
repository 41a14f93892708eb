"""The examples of web frameworks and task queues, each in processes of its own, under its own server or worker."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import Reader
from tests.examples.hosted import BOAT, ENVIRONMENT, EXAMPLES, hosted, run

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.slow

TYPES = {"text": str, "start": int, "end": int, "score": float, "probability": float}


def check_answers(client: httpx.Client) -> None:
    """Many at once have the answer, and bad bodies are the client's fault."""
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: client.post("/answer", json=BOAT), range(48)))
    assert {reply.status_code for reply in replies} == {200}
    assert {(reply.json()["text"], reply.json()["start"], reply.json()["end"]) for reply in replies} == {
        ("blue", 12, 16)
    }
    assert {name: type(value) for name, value in replies[0].json().items()} == TYPES
    assert client.post("/answer", json={"question": "Who?"}).status_code == 422


@pytest.mark.parametrize("application", ["flask_app", "django_app"])
def test_web_apps_under_gunicorn_with_gunicorn_conf(application: str, tmp_path: Path) -> None:
    for package in (application.removesuffix("_app"), "gunicorn"):
        pytest.importorskip(package, reason=f"needs {package}")
    command = ("-m", "gunicorn", "-c", "gunicorn_conf.py", "--bind", "fd://{fd}", f"{application}:app")
    with hosted(*command, HOME=str(tmp_path)) as (client, process):  # gunicorn has a socket there
        check_answers(client)
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in log
    assert log.count("Booting worker") == 2


def test_django_app_by_its_own_command() -> None:
    pytest.importorskip("django", reason="needs django")
    assert "no issues" in run("django_app.py", "check")


WORKER = """
import sys
import celery_tasks
folder, role = sys.argv[1:]
celery_tasks.app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={f"data_folder_{way}": folder for way in ("in", "out")} | {"control_folder": folder},
    result_backend=f"file://{folder}",
)
if role == "worker":
    options = ["--pool=prefork", "--concurrency=2", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    celery_tasks.app.worker_main(["worker", *options])
else:
    import json
    question, context = "What colour is the boat?", "The boat is blue and the sail is white."
    results = [celery_tasks.answer.delay(question, context) for _ in range(10)]
    many = celery_tasks.answer_many.delay([(question, context), (question, "")])
    print(json.dumps([[result.get(timeout=200) for result in results], many.get(timeout=200)]))
    print(celery_tasks.reader.cache_info().currsize)
"""


def test_celery_tasks_in_two_forked_workers(tmp_path: Path) -> None:
    pytest.importorskip("celery", reason="needs celery")
    command = [sys.executable, "-W", "ignore", "-c", WORKER, str(tmp_path), "worker"]
    worker = subprocess.Popen(
        command, cwd=EXAMPLES, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        answers, loaded = run("-W", "ignore", "-c", WORKER, str(tmp_path), "caller").splitlines()
    finally:
        worker.terminate()
        log, _ = worker.communicate(timeout=60)
    each, many = json.loads(answers)
    expected: dict[str, Any] = Reader.load(threads=1).ask(*BOAT.values()).to_dict()
    assert [answer["text"] for answer in each] == ["blue"] * 10
    assert each[0] == pytest.approx(expected)
    assert [answer["text"] for answer in many] == ["blue", ""]
    assert loaded == "0"  # the caller loads no model
    assert "Traceback" not in log
