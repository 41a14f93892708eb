"""The server on Ray Serve: answers, page, replicas that are replaced. It starts a Ray apart from all others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from qa_onnx import BundleError, InputError, Reader
from tests.conftest import TINY
from tests.served import ROOT
from tests.test_docs import blocks
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx.serve.ray_app import ReplicaApp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs ray[serve]"),
    pytest.mark.filterwarnings("ignore"),  # of Ray
]

QUESTION, CONTEXT = "Who keeps the bees?", "Anna keeps the bees. Otto has the soup. 🐝 Élodie naît."
KEY = "0123456789abcdef"

HOST = """
import json, sys
import ray
from ray import serve
from qa_onnx.serve.ray_app import build

folder, port, arguments = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
try:
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(arguments), route_prefix="/tools/qa")
    print("ready", flush=True)
    sys.stdin.read()
finally:
    serve.shutdown()
    ray.shutdown()
"""


class Host:
    """A Ray of its own with one application, below a path.

    Args:
        folder: for all its files; a short path, since sockets are in it.
        arguments: of `build`.
    """

    def __init__(self, folder: Path, **arguments: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST, str(folder), str(port), json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ray writes a key into the home folder.
            env={**environment, "HOME": str(folder), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/tools/qa",
            timeout=PATIENCE_S,
            trust_env=False,
            headers={"Authorization": f"Bearer {KEY}"},
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def wait(self) -> None:
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "ready\n":
                return
        raise AssertionError("".join(lines))

    def ready(self) -> list[int]:
        """The process of each replica that got ready, in no order."""
        texts = [path.read_text(encoding="utf-8") for path in self.folder.glob("session_latest/logs/worker-*.err")]
        lines = [line for text in texts for line in text.splitlines() if '"message": "ready"' in line]
        return [json.loads(line)["process"] for line in lines]

    def answer(self, **body: Any) -> httpx.Response:
        return self.client.post("/v1/answer", json=body)

    def close(self) -> None:
        self.client.close()
        try:
            self.process.communicate(timeout=PATIENCE_S)  # closes its stdin, which ends it
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="qa-", ignore_cleanup_errors=True) as name:
        keys = Path(name) / "keys"
        keys.write_text(KEY, encoding="ascii")
        keys.chmod(0o600)
        running = Host(
            Path(name), bundle=str(TINY), precision="fp32", max_queue="32", api_key_file=str(keys), num_cpus="1"
        )
        try:
            running.wait()
            yield running
        finally:
            running.close()


def test_answers_are_those_of_the_reader(host: Host, tiny_reader: Reader) -> None:
    response = host.answer(question=QUESTION, context=CONTEXT)
    assert response.status_code == 200
    found, expected = response.json()["answer"], tiny_reader.ask(QUESTION, CONTEXT).to_dict()
    assert found == {**expected, **{name: pytest.approx(expected[name]) for name in ("score", "probability")}}
    assert len(response.json()["answers"]) == 1


def test_lines_and_the_other_endpoints_are_there(host: Host) -> None:
    body = {"examples": [{"id": number, "question": QUESTION, "context": CONTEXT} for number in range(40)]}
    lines = host.client.post("/v1/answer", json=body, headers={"Accept": "application/jsonl"}).text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(40))
    from qa_onnx.serve import pages

    page = host.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.text == bytes(pages.demo().body).decode()
    assert host.client.get("/health/ready").json() == {"status": "ready"}
    assert host.client.get("/v1/bundle").json()["name"] == "tiny-bert"
    assert "qa_onnx_questions_total 4" in host.client.get("/metrics").text


def test_limits_keys_and_hosts_hold(host: Host) -> None:
    assert host.answer(question=QUESTION).status_code == 422
    assert host.client.get("/v1/bundle", headers={"Authorization": "Bearer another"}).status_code == 401
    assert host.client.get("/v1/bundle", headers={"Host": "qa.example.org"}).status_code == 421


def test_a_replica_that_is_killed_is_replaced(host: Host, tiny_reader: Reader) -> None:
    [first] = host.ready()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: set(host.ready()) - {first}, "another replica is ready")
    expected = tiny_reader.ask(QUESTION, CONTEXT).text

    def answered() -> bool:
        response = host.answer(question=QUESTION, context=CONTEXT)
        return response.status_code == 200 and response.json()["answer"]["text"] == expected

    eventually(answered, "it answers")
    assert len(set(host.ready())) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"bundles": "x"},
            r"there is no argument 'bundles': the arguments are .*bundle, .*max_queue, .*timeout_s",
        ),
        ({"num_cpus": "many"}, "argument num_cpus is 'many': Input should be a valid number"),
        ({"num_cpus": 0}, "argument num_cpus is 0: Input should be greater than 0"),
        ({"device": "tpu"}, "argument device is 'tpu': Input should be 'cpu' or 'cuda'"),
        ({"max_queue": "0"}, "max_queue is 0; it must be"),
        ({"max_queue": "all"}, "argument max_queue is 'all': Input should be a valid integer"),
        ({"min_replicas": 3, "max_replicas": 2}, "max_replicas is 2; it must be at least 3"),
        ({"allowed_hosts": "a.example.org,http://b"}, "allowed host 'http://b' is not a host name"),
        ({"api_key_file": "/nowhere"}, "cannot read the API keys"),
    ],
)
def test_wrong_arguments_say_what_is_right(arguments: dict[str, Any], says: str) -> None:
    from qa_onnx.serve.ray_app import build

    with pytest.raises(InputError, match=says):
        build(arguments)


def test_arguments_become_settings_of_the_deployment() -> None:
    from qa_onnx.serve.ray_app import build

    arguments = {"num_cpus": "2", "device": "cuda", "min_replicas": "0", "max_replicas": "8", "max_queue": "100"}
    deployment = build({**arguments, "target_ongoing_requests": "20"})._bound_deployment
    assert deployment.name == "qa-onnx"
    assert (deployment.ray_actor_options["num_cpus"], deployment.ray_actor_options["num_gpus"]) == (2, 1)
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (0, 8, 20)
    assert (deployment.max_ongoing_requests, deployment.max_queued_requests) == (100, 100)


def test_the_file_of_the_docs_is_right() -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    from ray.serve.schema import ServeDeploySchema

    from qa_onnx.serve.ray_app import build

    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    [application] = ServeDeploySchema.model_validate(yaml.safe_load(blocks("yaml", page)[0])).applications
    assert (application.import_path, application.route_prefix) == (f"{build.__module__}:build", "/")
    assert build(application.args)._bound_deployment.max_ongoing_requests == 128


def test_the_docs_name_every_argument() -> None:
    from qa_onnx.serve.ray_app import ReplicaArguments

    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    section = page.partition("\n## Ray Serve\n")[2].partition("\n## ")[0]
    assert [name for name in ReplicaArguments.model_fields if f"`{name}`" not in section] == []


def test_health_is_that_of_the_golden_examples() -> None:
    from qa_onnx.serve.ray_app import ReplicaApp, ReplicaArguments
    from qa_onnx.serve.settings import Settings

    async def check() -> None:
        service = ReplicaArguments(bundle=str(TINY), precision="fp32", num_cpus=2.5).load(Settings())
        assert service.model.runtime.threads == 2
        app: ReplicaApp = ReplicaApp(service)
        try:
            await app.check_health()
            content = json.loads(service._golden)
            content["windows"][0]["start_logits"][0] += 1
            service._golden = json.dumps(content)
            with pytest.raises(BundleError, match="gives other logits here than at export: they differ by 1,"):
                await app.check_health()
        finally:
            await service.close()

    asyncio.run(check())
