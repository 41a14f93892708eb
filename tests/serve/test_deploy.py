"""The files in deploy/: what they say of the server is so, and their parts fit together."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import __version__
from qa_onnx.cli.serve import serve as command
from qa_onnx.serve.settings import Settings
from tests.served import ROOT, Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

yaml = pytest.importorskip("yaml", reason="needs pyyaml")
pytestmark = pytest.mark.slow

DEPLOY = ROOT / "deploy"
SCHEMAS = "1.33"  # of this version of Kubernetes
IMAGE = (ROOT / "docker" / "cpu.Dockerfile").read_text(encoding="utf-8")
PORT = next(item.default for item in command.params if item.name == "port")
OBJECTS = {item["kind"]: item for item in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
KSERVE = yaml.safe_load((DEPLOY / "kserve.yaml").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["qa-onnx"]
ADAPTER = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text())
PODS = {"kubernetes": OBJECTS["Deployment"]["spec"]["template"]["spec"], "kserve": KSERVE["spec"]["predictor"]}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return dict(found)


def probes(pod: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in container(pod).items() if name.endswith("Probe")}


def hosts(pod: dict[str, Any]) -> list[str]:
    arguments = container(pod)["args"]
    assert arguments[::2] == ["--allowed-host"] * (len(arguments) // 2)
    return list(arguments[1::2])


def seconds() -> float:
    """Most seconds that a server takes to stop."""
    settings = Settings()
    return settings.timeout_s + settings.read_timeout_s + 5


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server on all addresses of the machine, with the arguments of kubernetes.yaml."""
    arguments = container(PODS["kubernetes"])["args"]
    with serve("--host", "0.0.0.0", *arguments) as running:
        yield running


def test_the_parts_of_the_manifest_belong_together() -> None:
    assert set(OBJECTS) == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    assert {item["metadata"]["name"] for item in OBJECTS.values()} == {"qa-onnx"}
    labels = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        OBJECTS[kind]["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")
    ]
    for selector in (*selectors, OBJECTS["Service"]["spec"]["selector"]):
        assert selector
        assert selector.items() <= labels.items()
    target = OBJECTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    deployment = OBJECTS["Deployment"]
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in deployment["spec"]  # each apply would undo the autoscaler
    assert OBJECTS["PodDisruptionBudget"]["spec"]["minAvailable"] < replicas()[0] < replicas()[1]


def replicas() -> tuple[int, int]:
    scaler = OBJECTS["HorizontalPodAutoscaler"]["spec"]
    return scaler["minReplicas"], scaler["maxReplicas"]


def test_ports_are_those_that_the_image_listens_on() -> None:
    assert f"EXPOSE {PORT}\n" in IMAGE
    (port,) = container(PODS["kubernetes"])["ports"]
    assert port["containerPort"] == PORT
    (exposed,) = OBJECTS["Service"]["spec"]["ports"]
    assert exposed["targetPort"] == port["name"]
    assert {probe["httpGet"]["port"] for probe in probes(PODS["kubernetes"]).values()} == {port["name"]}
    assert OBJECTS["Deployment"]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(PORT)
    (port,) = container(PODS["kserve"])["ports"]
    assert port["containerPort"] == PORT
    assert {probe["httpGet"]["port"] for probe in probes(PODS["kserve"]).values()} == {PORT}
    assert COMPOSE["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]


@pytest.mark.parametrize("name", PODS)
def test_arguments_are_flags_of_the_command(name: str) -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", IMAGE, re.MULTILINE)
    program, verb, *first = json.loads(entry)
    assert (program.rpartition("/")[2], verb) == ("qa-onnx", "serve")
    context = command.make_context("serve", [*first, *container(PODS[name])["args"]])  # raises where one is wrong
    assert context.params["port"] == PORT
    Settings(allowed_hosts=context.params["allowed_hosts"], loopback=False)
    assert container(PODS[name])["image"].endswith(f"/qa-onnx:{__version__}")


@pytest.mark.parametrize("name", PODS)
def test_probes_ask_what_the_server_answers(served: Served, name: str) -> None:
    found = probes(PODS[name])
    assert {"readinessProbe", "livenessProbe"} <= set(found)
    for kind, probe in found.items():
        path = probe["httpGet"]["path"]
        assert path.endswith("/live" if kind == "livenessProbe" else "/ready")
        assert served.client.get(path, headers={"Host": "10.1.2.3:8000"}).status_code == 200
        assert served.client.get(path, headers={"Host": "node.example.org"}).status_code == 200


def test_names_of_the_service_are_allowed(served: Served) -> None:
    name = OBJECTS["Service"]["metadata"]["name"]
    for host in (name, f"{name}.prod.svc", f"{name}.prod.svc.cluster.local:80"):
        assert served.client.get("/v2", headers={"Host": host}).status_code == 200
    assert served.client.get("/v2", headers={"Host": "evil.example"}).status_code == 421
    assert hosts(PODS["kserve"]) == ["*"]


def test_the_autoscaler_reads_a_metric_that_there_is(served: Served) -> None:
    (metric,) = OBJECTS["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["type"] == "Pods"
    name = metric["pods"]["metric"]["name"]
    annotations = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    page = served.client.get(annotations["prometheus.io/path"]).text
    assert f"# TYPE {name} gauge" in page
    assert re.search(rf"^{name} \d", page, re.MULTILINE)
    assert int(metric["pods"]["target"]["averageValue"]) < Settings().max_queue
    (rule,) = ADAPTER["rules"]["custom"]
    assert rule["seriesQuery"].partition("{")[0] == rule["name"]["as"] == name
    assert re.fullmatch(rule["name"]["matches"], name)
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}


@pytest.mark.parametrize("name", PODS)
def test_containers_may_do_little(name: str) -> None:
    (user,) = re.findall(r"^USER (\d+)$", IMAGE, re.MULTILINE)
    assert PODS[name]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(user),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert PODS[name]["automountServiceAccountToken"] is False
    assert container(PODS[name])["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container(PODS[name])["resources"]["limits"]) == {"cpu", "memory"}


def test_a_stop_leaves_time_for_the_last_answers() -> None:
    pod = PODS["kubernetes"]
    program, flag, code = container(pod)["lifecycle"]["preStop"]["exec"]["command"]
    assert f"python -m venv {program.removesuffix('/bin/python')} " in IMAGE
    assert flag == "-c"
    (pause,) = re.fullmatch(r"import time; time\.sleep\((\d+)\)", code).groups()  # type: ignore[union-attr]
    assert pod["terminationGracePeriodSeconds"] > int(pause) + seconds()
    assert int(COMPOSE["stop_grace_period"].removesuffix("s")) > seconds()
    assert PODS["kserve"]["timeout"] > Settings().timeout_s


def test_mounts_have_volumes() -> None:
    pod = PODS["kubernetes"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container(pod)["volumeMounts"]}
    assert mounted == {"tmp": "/tmp"}
    assert [volume["name"] for volume in pod["volumes"]] == list(mounted)


def test_compose_builds_and_locks_the_same_image() -> None:
    build = COMPOSE["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT.resolve()
    assert (context / build["dockerfile"]).read_text(encoding="utf-8") == IMAGE
    assert COMPOSE["read_only"] is True
    assert COMPOSE["cap_drop"] == ["ALL"]
    assert COMPOSE["security_opt"] == ["no-new-privileges:true"]
    assert COMPOSE["image"].endswith(f":{__version__}")


def test_the_model_that_kserves_file_names_is_the_default_one() -> None:
    from qa_onnx import Bundle

    text = (DEPLOY / "kserve.yaml").read_text()
    assert f"/v2/models/{Bundle.load().manifest.source.name}/infer" in text
    assert container(PODS["kserve"])["name"] == "kserve-container"


def test_the_files_that_the_comments_and_docs_name_exist() -> None:
    pages = [*DEPLOY.iterdir(), ROOT / "docs" / "deploying.md"]
    named = {name for page in pages for name in re.findall(r"(?:deploy|docker|docs)/[\w.-]+\w", page.read_text())}
    assert {f"deploy/{path.name}" for path in DEPLOY.iterdir()} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []


def pod_of_kserve() -> dict[str, Any]:
    """Return the part of the predictor that is a pod's; KServe's own fields have no schema here."""
    own = {"minReplicas", "maxReplicas", "timeout"}
    spec = {name: value for name, value in PODS["kserve"].items() if name not in own}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": KSERVE["metadata"], "spec": spec}


@pytest.mark.parametrize("kind", [*OBJECTS, "Pod"])
def test_the_manifest_is_valid_by_the_schemas_of_kubernetes(kind: str) -> None:
    package = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    item = OBJECTS.get(kind) or pod_of_kserve()
    package.validate(item, SCHEMAS, strict=True)
    broken = {**item, "spec": {**item["spec"], "unknown": 1}}
    with pytest.raises(package.ValidationError, match="unknown"):
        package.validate(broken, SCHEMAS, strict=True)
