"""Bundles from the Hugging Face hub, by a server on the loopback: what is fetched, refused, and offline."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from qa_onnx import Bundle, BundleError, MissingExtraError, Reader
from qa_onnx.bundle.files import MANIFEST
from qa_onnx.bundle.hub import HubRepository
from qa_onnx.cli import main
from tests.bundle.hub_server import Hub, Repository, files_of
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("huggingface_hub", reason="needs the hub extra")

NAMES = sorted(path.name for path in TINY.iterdir())
MODEL = next(name for name in NAMES if name.startswith("model-"))
NAME = "harbour/tiny-bert"


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with one repository, whose branch main and tag v1 are the tiny bundle."""
    server = Hub()
    server.repositories[NAME] = Repository()
    server.repositories[NAME].commit(files_of(TINY), "main", "v1")
    yield server
    server.close()


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path) -> Callable[..., Path]:
    """Fetches a repository into a cache of the test's own."""

    def run(name: str = NAME, revision: str = "main") -> Path:
        return HubRepository(name=name, revision=revision, endpoint=hub.url, cache=tmp_path / "cache").fetch()

    return run


def test_the_files_of_the_manifest_are_fetched_once_and_no_others(
    hub: Hub, fetch: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = fetch()
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    assert all(path.is_symlink() for path in folder.iterdir())
    assert Bundle.load(folder).manifest == Bundle.load(TINY).manifest
    fetched = [
        path.rpartition("/")[2] for path in hub.requests if path.startswith("GET") and "/large/" not in path
    ]
    assert sorted(fetched) == [name for name in NAMES if not name.endswith(".onnx")]
    assert hub.requests[0] == f"HEAD /{NAME}/resolve/main/{MANIFEST}"
    hub.requests.clear()
    assert fetch() == folder
    assert {request.split()[0] for request in hub.requests} == {"HEAD"}
    assert {request.rpartition("/")[2] for request in hub.requests} == {MANIFEST}
    assert capfd.readouterr() == ("", "")


def test_a_branch_a_tag_or_a_commit_is_a_commit(hub: Hub, fetch: Callable[..., Path]) -> None:
    first = fetch()
    content = {**json.loads((TINY / MANIFEST).read_bytes()), "null_threshold": 1.5}
    newer = hub.repositories[NAME].commit({**files_of(TINY), MANIFEST: json.dumps(content).encode()}, "main")
    assert fetch().name == newer
    assert Bundle.load(fetch()).manifest.null_threshold == 1.5
    assert fetch(revision="v1") == fetch(revision=first.name) == first
    hub.requests.clear()
    assert fetch(revision=newer).name == newer
    assert hub.requests == [], "a commit in the cache cannot change"


@pytest.mark.parametrize("down", ["closed", "failing", "portal"])
def test_what_was_fetched_loads_without_a_network(hub: Hub, fetch: Callable[..., Path], down: str) -> None:
    folder = fetch()
    if down == "closed":
        hub.close()
    else:
        setattr(hub, down, True)
    assert fetch() == fetch(revision=folder.name) == folder
    (folder / MODEL).unlink()
    with pytest.raises(BundleError, match=rf"the hub cannot be reached .*, and its cache .* lacks {MODEL} of"):
        fetch()
    with pytest.raises(BundleError, match=rf"^harbour/another is not a folder here, the hub .* lacks {MANIFEST}"):
        fetch("harbour/another")


@pytest.mark.parametrize(
    ("name", "revision", "problem", "remedy"),
    [
        (
            "harbour/none",
            "main",
            "harbour/none is neither a folder here nor a repository on the hub",
            "hf auth login",
        ),
        ("a--b/c..d", "main", "a--b/c..d is neither a folder here nor a repository on the hub", "check the path"),
        (NAME, "v2", f"{NAME} on the hub has no revision v2", "use a branch, tag or commit that http"),
        ("harbour/gated", "main", "harbour/gated on the hub is gated: only accounts", "ask for access at http"),
        (
            "harbour/model",
            "main",
            "harbour/model is not a folder here, and the repository of that name on the hub holds no bundle.json",
            "if it is a model, qa-onnx export harbour/model --to exported/model makes a bundle of it",
        ),
        ("harbour/huge", "main", "bundle.json of harbour/huge is larger than 4194304 bytes", ""),
        ("harbour/cut", "main", f"harbour/cut on the hub lacks {MODEL}, which its bundle.json names", "another"),
        (
            "harbour/longer",
            "main",
            f"{MODEL} of harbour/longer has .* bytes on the hub, bundle.json says",
            "another",
        ),
    ],
)
def test_what_cannot_be_fetched_says_why(
    hub: Hub, fetch: Callable[..., Path], name: str, revision: str, problem: str, remedy: str
) -> None:
    files = files_of(TINY)
    hub.repositories |= {f"harbour/{kind}": Repository() for kind in ("gated", "model", "huge", "cut", "longer")}
    hub.repositories["harbour/gated"].gated = True
    hub.repositories["harbour/model"].commit({"config.json": b"{}"}, "main")
    hub.repositories["harbour/huge"].commit({MANIFEST: b" " * ((4 << 20) + 1)}, "main")
    hub.repositories["harbour/cut"].commit({key: files[key] for key in files if key != MODEL}, "main")
    hub.repositories["harbour/longer"].commit({**files, MODEL: files[MODEL] + b" "}, "main")
    with pytest.raises(BundleError, match=problem) as refused:
        fetch(name, revision)
    assert remedy in refused.value.remedy
    longer = hashlib.sha256(files[MODEL] + b" ").hexdigest()
    assert f"GET /large/{longer}" not in hub.requests


def test_a_file_with_another_hash_is_refused_and_fetched_again(hub: Hub, fetch: Callable[..., Path]) -> None:
    repository, files = hub.repositories[NAME], files_of(TINY)
    commit = repository.refs["main"]
    repository.commits[commit] = {**files, MODEL: files[MODEL][:-1] + b"!"}
    for _ in range(2):
        with pytest.raises(BundleError, match=f"{MODEL} was changed or damaged: its SHA-256 is"):
            fetch()
    repository.commits[commit] = files
    Bundle.load(fetch()).check(Bundle.load(TINY).graph("fp32").file)


def test_a_bundle_in_the_cache_is_repaired_and_added_to_elsewhere(fetch: Callable[..., Path]) -> None:
    folder = fetch()
    with pytest.raises(
        BundleError, match="qa-onnx export CHECKPOINT --to another-folder --precision fp16 makes it"
    ):
        Bundle.load(folder).graph("fp16")
    (folder / MODEL).resolve().write_bytes(b"cut")
    with pytest.raises(
        BundleError, match=f"has 3 bytes, .*: remove {folder.parents[1]}, and the next load fetches"
    ):
        Bundle.load(folder)
    shutil.rmtree(folder.parents[1])
    assert Bundle.load(fetch()).path == folder


def test_a_cache_that_cannot_be_written_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(BundleError, match=f"{MANIFEST} of {NAME} cannot be kept in the hub's cache: .*cache"):
        HubRepository(name=NAME, endpoint=hub.url, cache=tmp_path / "cache").fetch()


def test_without_huggingface_hub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        MissingExtraError, match="some/model is not a folder here, and without huggingface_hub"
    ) as lacks:
        Bundle.load("some/model")
    assert lacks.value.remedy == "check the path, or pip install 'qa-onnx[hub]'"


@pytest.mark.parametrize("path", [None, TINY, Bundle.load(TINY)])
def test_a_folder_has_no_revision(path: Path | Bundle | None) -> None:
    with pytest.raises(
        BundleError, match=r"^revision is 'v1', but .* is no name on the hub and has none: omit it"
    ):
        Reader.load(path, revision="v1")
    result = CliRunner().invoke(
        main, ["inspect", *([] if path is None else ["-b", str(TINY)]), "--revision", "v1"]
    )
    assert (result.exit_code, "is no name on the hub and has none" in " ".join(result.stderr.split())) == (1, True)


# A program as a user writes it; the hub's address and cache come from the environment that it was started with.
PROGRAM = """
import json, os, pickle, sys
from click.testing import CliRunner
from qa_onnx import Reader
from qa_onnx.cli import main
name, *revision = sys.argv[1:]
before = dict(os.environ)
reader = Reader.load(name, revision=revision[0] if revision else None, threads=1)
again = pickle.loads(pickle.dumps(reader))
assert reader.ask("Where?", "At the quay.") == again.ask("Where?", "At the quay.")
assert dict(os.environ) == before
named = ["-b", name, *(["--revision", *revision] if revision else [])]
shown = CliRunner().invoke(main, ["inspect", *named, "--json"])
asked = CliRunner().invoke(main, ["ask", *named, "-q", "Where?", "--context", "At the quay.", "--json"])
assert (shown.exit_code, asked.exit_code) == (0, 0), shown.output + asked.output
print(json.dumps([json.loads(shown.stdout)["path"], "huggingface_hub" in sys.modules]))
"""


def test_readers_and_commands_take_a_name_and_a_folder_comes_first(hub: Hub, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    commit = hub.repositories[NAME].refs["main"]
    snapshot = tmp_path / "home/hub" / f"models--{NAME.replace('/', '--')}" / "snapshots" / commit

    def run(*arguments: str) -> list[object]:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        result: list[object] = json.loads(done.stdout)
        return result

    assert run(NAME, "v1") == [str(snapshot), True]
    assert run(NAME) == [str(snapshot), True]
    hub.close()
    assert run(NAME) == [str(snapshot), True]
    shutil.copytree(TINY, tmp_path / NAME)
    assert run(NAME) == [NAME, False]


def test_a_signature_is_fetched_where_it_is_required_and_checked_before_graphs_are_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography", reason="needs qa-onnx[sign]")
    from qa_onnx.bundle import signature

    owner, other = (signature.make_keys(tmp_path / name) for name in ("owner", "other"))
    bundle = shutil.copytree(TINY, tmp_path / "bundle")

    def fetch(key: Path, cache: str) -> Bundle:
        hub.requests.clear()
        repository = HubRepository(name=NAME, endpoint=hub.url, cache=tmp_path / cache)
        return Bundle.load(repository.fetch(key), require_signature=key)

    for sign in (False, True):
        if sign:
            signature.sign(bundle, owner[0])
            hub.repositories[NAME].commit(files_of(bundle), "main")
            assert fetch(owner[1], "first").manifest == Bundle.load(TINY).manifest
        with pytest.raises(BundleError, match="is signed by the key" if sign else "on the hub is not signed"):
            fetch(other[1], "second")
        assert not [request for request in hub.requests if "model-" in request]
