"""Profiles hold for one bundle on one machine and its engines, and are followed where nothing is set by hand."""

from __future__ import annotations

import dataclasses
import json
import warnings
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qa_onnx import Bundle, DeviceError, OnnxSession, Options, Reader
from qa_onnx.bundle import tuned
from qa_onnx.bundle.tuned import Profile, find_profile, forget_profile, profile_path, save_profile
from qa_onnx.cli import main
from qa_onnx.machine import cpu
from qa_onnx.machine.cache import cache_folder
from tests.conftest import TINY, edit_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from qa_onnx.bundle.graphs import BundleGraph
    from qa_onnx.engines.names import Backend

pytestmark = pytest.mark.cpu

PROFILE = Profile(
    precision="fp32",
    engine="onnxruntime",
    device="cpu",
    threads=1,
    batch_tokens=77,
    questions_per_second=100.0,
    gain=1.5,
    p99_ms=3.0,
    data="some.json",
    created="2026-11-25T12:00:00+00:00",
)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The tiny bundle, with a cache folder that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Bundle.load(TINY)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every session that is opened."""
    calls: list[dict[str, Any]] = []

    def note(graph: BundleGraph, **arguments: Any) -> OnnxSession:
        calls.append({"graph": graph.file.name, **arguments})
        return OnnxSession(graph, threads=1)

    monkeypatch.setattr("qa_onnx.bundle.runtime.open_session", note)
    return calls


def test_what_is_saved_is_found(bundle: Bundle) -> None:
    assert find_profile(bundle) is None
    path = save_profile(bundle, PROFILE)
    assert path == profile_path(bundle)
    assert path.parent == cache_folder("profiles")
    assert find_profile(bundle) == PROFILE
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no partial file stays
    assert forget_profile(bundle) is True
    assert find_profile(bundle) is None
    assert forget_profile(bundle) is False


def test_a_reader_follows_it_where_nothing_is_set(bundle: Bundle, opened: list[dict[str, Any]]) -> None:
    before = Reader.load(bundle)
    save_profile(bundle, PROFILE)
    after = Reader.load(bundle)
    assert after.options == dataclasses.replace(before.options, batch_tokens=77)
    fp32, int8 = (bundle.graph(precision).file.name for precision in ("fp32", "int8"))
    assert [(call["graph"], call["threads"]) for call in opened] == [(int8, None), (fp32, 1)]
    mine = Options(max_length=32, doc_stride=8, max_question_length=8, batch_tokens=99)
    assert Reader.load(bundle, options=mine).options == mine
    assert opened[-1]["graph"] == fp32


def test_serve_follows_it_and_splits_the_cores_all_the_same(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="needs the serve extra")
    from qa_onnx.cli.options import ReaderSettings
    from qa_onnx.cli.serve import model

    monkeypatch.setattr(cpu, "default_threads", lambda: 8)
    unset: dict[str, Any] = dict.fromkeys(ReaderSettings.__dataclass_fields__) | {"allow_fallback": False}
    settings = ReaderSettings(**unset | {"bundle": TINY, "null_threshold": "bundle"})
    assert (model(settings, 1).runtime.precision, model(settings, 1).runtime.threads) == ("int8", 8)
    save_profile(bundle, PROFILE)
    served = model(settings, 1)
    assert (served.runtime.precision, served.runtime.threads, served.options.batch_tokens) == ("fp32", 1, 77)
    assert served.load().precision == "fp32"
    assert model(settings, 2).runtime.threads == 4
    by_hand = model(dataclasses.replace(settings, precision="int8"), 1)
    assert (by_hand.runtime.precision, by_hand.runtime.threads) == ("int8", 8)


@pytest.mark.parametrize(
    "setting", [{"precision": "int8"}, {"device": "cpu"}, {"engine": "onnxruntime"}, {"threads": 2}]
)
def test_anything_set_by_hand_switches_it_off(
    bundle: Bundle, opened: list[dict[str, Any]], setting: dict[str, Any]
) -> None:
    save_profile(bundle, PROFILE)
    reader = Reader.load(bundle, **setting)
    assert reader.options.batch_tokens == Options().batch_tokens
    assert opened[0]["graph"] == bundle.graph("int8").file.name
    assert opened[0]["threads"] == setting.get("threads")


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (cpu, "cpu_model", "Another CPU"),
        (cpu, "instruction_sets", ("avx2", "amx_int8")),
        (cpu, "default_threads", 48),
        (metadata, "version", "99.0"),
    ],
)
def test_that_of_another_machine_or_other_engines_is_ignored(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, value: object
) -> None:
    save_profile(bundle, PROFILE)
    monkeypatch.setattr(module, name, lambda *_: value)
    assert find_profile(bundle) is None


def test_that_of_another_bundle_is_ignored(bundle: Bundle, tiny_copy: Path) -> None:
    save_profile(bundle, PROFILE)
    assert find_profile(Bundle.load(tiny_copy)) == PROFILE  # a copy is the same bundle
    edit_manifest(tiny_copy, lambda content: content.update(null_threshold=1.0))
    assert find_profile(Bundle.load(tiny_copy)) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content["profile"].update(precision="int4"),
        lambda content: content["profile"].update(device="tpu"),
        lambda content: content["profile"].update(engine="openvino"),  # the tiny graphs do not run there
        lambda content: content["profile"].update(threads=0),
        lambda content: content["profile"].update(batch_tokens=0),
        lambda content: content["profile"].update(gain="fast"),
        lambda content: content["profile"].pop("data"),
        lambda content: content.pop("profile"),
        lambda content: content.update(format="qa-onnx-profile 2"),
        b"",
        b"[]",
        b"\xff",
        b" " * (1 << 17),
    ],
)
def test_a_damaged_one_is_ignored(bundle: Bundle, damage: bytes | Callable[[dict[str, Any]], object]) -> None:
    path = save_profile(bundle, PROFILE)
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        content = json.loads(path.read_bytes())
        damage(content)
        path.write_text(json.dumps(content), encoding="utf-8")
    assert find_profile(bundle) is None
    assert Reader.load(bundle).ask("Who?", "The keeper.")


def test_a_tuned_gpu_that_is_gone_is_no_secret(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_usable(backend: Backend) -> None:
        if backend.device == "cuda":
            raise DeviceError("no NVIDIA driver is found", remedy="install it")

    monkeypatch.setattr(tuned, "check_usable", check_usable)
    save_profile(bundle, dataclasses.replace(PROFILE, device="cuda"))
    message = (
        "onnxruntime/cuda, which qa-onnx tune chose, cannot be used, the CPU takes over: no NVIDIA driver is found"
    )
    with pytest.warns(RuntimeWarning, match=message) as caught:
        assert str(Reader.load(bundle).backend) == "onnxruntime/cpu"
    assert [warning.filename for warning in caught] == [__file__]
    shown = CliRunner().invoke(main, ["inspect", "-b", str(TINY)])
    assert shown.stderr == f"warning: {message}: install it\n"
    assert "here int8 in onnxruntime/cpu" in " ".join(shown.stdout.split())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is named needs no profile
        Reader.load(bundle, device="cpu")


def test_inspect_says_so(bundle: Bundle) -> None:
    run = CliRunner()
    shown = run.invoke(main, ["inspect", "-b", str(TINY)]).stdout
    assert "qa-onnx tune finds out what is the fastest here" in " ".join(shown.split())
    assert json.loads(run.invoke(main, ["inspect", "-b", str(TINY), "--json"]).stdout)["profile"] is None
    save_profile(bundle, PROFILE)
    assert (
        "here fp32 in onnxruntime/cpu, 1 thread, batches of 77 tokens: 1.50 x the default's questions a "
        "second; tuned 2026-11-25 on some.json"
    ) in " ".join(run.invoke(main, ["inspect", "-b", str(TINY)]).stdout.split())
    shown = json.loads(run.invoke(main, ["inspect", "-b", str(TINY), "--json"]).stdout)["profile"]
    assert shown == dataclasses.asdict(PROFILE)


def test_the_cache_folder_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("profiles") == tmp_path / "qa-onnx" / "profiles"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / "home" / ".cache" / "qa-onnx"
