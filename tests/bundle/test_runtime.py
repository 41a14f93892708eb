"""Runtimes: which graph runs on which backend, and what replaces a GPU that cannot be used."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import (
    Bundle,
    BundleError,
    DeviceError,
    EngineError,
    MissingExtraError,
    Options,
    Reader,
)
from qa_onnx.bundle import runtime
from qa_onnx.bundle.files import FolderFiles
from qa_onnx.bundle.graphs import BundleGraph
from qa_onnx.engines import sessions
from qa_onnx.engines.names import BACKENDS, Backend
from tests.conftest import TINY, FakeSession, edit_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.serve.settings import Model

REASON = "no NVIDIA driver is found: install it"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What engines are opened with; none is."""
    opened: list[dict[str, Any]] = []

    def engine(graph: BundleGraph, **arguments: Any) -> FakeSession:
        opened.append({"graph": graph, **arguments})
        return FakeSession()

    monkeypatch.setattr(runtime, "open_session", engine)
    return opened


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose GPU cannot be used; the CPU can."""

    def open_session(graph: BundleGraph, *, backend: Backend, **arguments: Any) -> Any:
        if backend.device == "cuda":
            raise DeviceError(REASON)
        return sessions.open_session(graph, backend=backend, **arguments)

    def check_usable(backend: Backend) -> None:
        assert backend.device == "cuda"
        raise DeviceError(REASON)

    monkeypatch.setattr(runtime, "open_session", open_session)
    monkeypatch.setattr(runtime, "check_usable", check_usable)


def make_plain(folder: Path, **changes: Any) -> None:
    """Say that a bundle's fp32 graph is of standard operators alone."""
    edit_manifest(
        folder,
        lambda content: content["graphs"]["fp32"].update(
            kind="plain", fused_nodes={}, engines=[*map(str, BACKENDS)], **changes
        ),
    )


def test_a_backend_is_its_name() -> None:
    for backend in BACKENDS:
        assert Backend.parse(str(backend)) == backend
    for wrong in ("tensorrt/cpu", "openvino/cuda"):
        with pytest.raises(EngineError, match=r"it can be onnxruntime/cpu, .*, tensorrt/cuda"):
            Backend.parse(wrong)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("onnxruntime/tpu", "device is 'tpu'; it must be one of cpu, cuda"),
        ("onnxruntime", "device is ''; it must be one of cpu, cuda"),
        ("oneflow/cpu", "engine is 'oneflow'; it must be one of onnxruntime, openvino, tensorrt"),
    ],
)
def test_an_unknown_engine_or_device_is_refused(name: str, problem: str) -> None:
    with pytest.raises(EngineError, match=problem):
        Backend.parse(name)


def test_the_gpu_has_larger_batches_than_the_cpu(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "check_usable", lambda backend: None)
    reader = Reader.load(TINY, device="cuda", allow_fallback=True)
    assert (str(reader.backend), reader.precision) == ("onnxruntime/cuda", "fp32")
    assert reader.options.batch_tokens == 16_384
    assert Reader.load(TINY, precision="fp32", allow_fallback=True).options.batch_tokens == 1024
    own = Options(max_length=64, doc_stride=16, max_question_length=16, batch_tokens=77)
    assert Reader.load(TINY, precision="fp32", device="cuda", options=own).options.batch_tokens == 77
    assert [one["backend"].device for one in calls] == ["cuda", "cpu", "cuda"]


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("precision", [None, "fp32"])
def test_a_gpu_that_cannot_be_used_is_an_error(precision: str | None) -> None:
    with pytest.raises(DeviceError, match=REASON):
        Reader.load(TINY, device="cuda", precision=precision)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("precision", "used"), [(None, "int8"), ("fp32", "fp32")])
def test_where_it_is_allowed_the_cpu_takes_over_with_the_named_or_its_best_precision(
    precision: str | None, used: str
) -> None:
    said = f"^onnxruntime/cuda cannot be used, {used} on the CPU takes over: {REASON}$"
    with pytest.warns(RuntimeWarning, match=said) as caught:
        reader = Reader.load(TINY, device="cuda", precision=precision, allow_fallback=True, threads=1)
    assert [warning.filename for warning in caught] == [__file__]
    assert (str(reader.backend), reader.precision) == ("onnxruntime/cpu", used)
    assert reader.options.batch_tokens == 1024
    other = Reader.load(TINY, precision=precision, threads=1)
    assert reader.ask("Where?", "At dusk.") == other.ask("Where?", "At dusk.")


@pytest.mark.usefixtures("no_gpu")
def test_a_bundle_without_a_graph_for_gpus_falls_back_too(tiny_copy: Path) -> None:
    edit_manifest(tiny_copy, lambda content: content["graphs"].pop("fp32"))
    with pytest.warns(RuntimeWarning, match="int8 on the CPU takes over"):
        assert Reader.load(tiny_copy, device="cuda", allow_fallback=True).precision == "int8"


@pytest.mark.usefixtures("no_gpu")
def test_what_is_no_matter_of_the_device_stays_an_error() -> None:
    with pytest.raises(EngineError, match="runs on onnxruntime/cpu, not on onnxruntime/cuda"):
        Reader.load(TINY, precision="int8", device="cuda", allow_fallback=True)
    with pytest.raises(BundleError, match="has no receipt"):
        Reader.load(TINY, precision="fp32", device="cuda", allow_fallback=True, min_f1=80)
    with pytest.raises(EngineError, match="does not run on device 'cuda'"):
        Reader.load(TINY, engine="openvino", device="cuda", allow_fallback=True)


def test_a_wheel_that_cannot_drive_a_gpu_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_usable(backend: Backend) -> None:
        raise MissingExtraError("pip install 'qa-onnx[gpu]'")

    monkeypatch.setattr(runtime, "check_usable", check_usable)
    with pytest.warns(RuntimeWarning, match=r"tensorrt/cuda cannot be used, .*: pip install 'qa-onnx\[gpu\]'"):
        reader = Reader.load(TINY, engine="tensorrt", device="cuda", allow_fallback=True, threads=1)
    assert str(reader.backend) == "onnxruntime/cpu"


@pytest.mark.usefixtures("no_gpu")
def test_a_tuned_gpu_that_cannot_be_used_falls_back_too(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = SimpleNamespace(
        precision="fp32", backend=Backend("onnxruntime", "cuda"), threads=None, batch_tokens=16_384
    )
    monkeypatch.setattr(runtime, "find_profile", lambda bundle: tuned if bundle.path == TINY else None)
    with pytest.raises(DeviceError, match=REASON):
        Reader.load(tiny_bundle)
    with pytest.warns(RuntimeWarning, match="onnxruntime/cuda cannot be used, int8 on the CPU takes over"):
        assert Reader.load(tiny_bundle, allow_fallback=True).options.batch_tokens == 1024


def wished(precision: str | None) -> Model:
    """Return what a server is asked to run on a GPU, where the CPU may replace it."""
    from qa_onnx.cli.options import ReaderSettings
    from qa_onnx.cli.serve import model

    nothing: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(ReaderSettings))
    given = {"bundle": TINY, "precision": precision, "device": "cuda", "threads": 1, "allow_fallback": True}
    return model(ReaderSettings(**{**nothing, **given}), workers=1)


@pytest.mark.usefixtures("no_gpu")
def test_a_server_on_the_cpu_that_takes_over_has_its_batches_too() -> None:
    with pytest.warns(RuntimeWarning, match="int8 on the CPU takes over"):
        found = wished(None)  # known before it loads
    assert (found.runtime.backend.device, found.runtime.precision, found.options.batch_tokens) == (
        "cpu",
        "int8",
        1024,
    )
    found = wished("fp32")
    assert (found.runtime.backend.device, found.options.batch_tokens) == ("cuda", 16_384)
    with pytest.warns(RuntimeWarning, match="fp32 on the CPU takes over") as caught:
        served = found.as_loaded(found.load())
    assert [warning.filename for warning in caught] == [__file__]
    assert (served.runtime.backend.device, served.runtime.precision, served.options.batch_tokens) == (
        "cpu",
        "fp32",
        1024,
    )


@pytest.mark.usefixtures("no_gpu")
def test_a_server_whose_gpu_fails_when_it_loads_falls_back_as_a_reader_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "check_usable", lambda backend: None)  # what fails shows only later
    found = wished(None)
    assert (found.runtime.backend.device, found.runtime.precision) == ("cuda", "fp32")
    with pytest.warns(RuntimeWarning, match="int8 on the CPU takes over"):
        served = found.as_loaded(found.load())
    assert (served.runtime.backend.device, served.runtime.precision, served.options.batch_tokens) == (
        "cpu",
        "int8",
        1024,
    )


@pytest.mark.usefixtures("no_gpu")
def test_a_fallback_that_fails_too_has_said_why_the_gpu_is_not_used() -> None:
    with (
        pytest.warns(RuntimeWarning, match=f"int8 on the CPU takes over: {REASON}"),
        pytest.raises(BundleError, match="has no receipt"),
    ):
        Reader.load(TINY, device="cuda", allow_fallback=True, min_f1=80)


@pytest.mark.usefixtures("no_gpu")
def test_a_server_of_a_bundle_without_a_graph_for_gpus_falls_back_as_a_reader_does(tiny_copy: Path) -> None:
    from qa_onnx.serve.settings import Model

    edit_manifest(tiny_copy, lambda content: content["graphs"].pop("fp32"))
    with pytest.warns(RuntimeWarning, match="int8 on the CPU takes over"):
        found = Model.resolve(Bundle.load(tiny_copy), Options(), device="cuda", allow_fallback=True)
    assert str(found.runtime.backend) == "onnxruntime/cpu"


def test_int8_on_cuda_names_the_precision_that_runs_there(tiny_copy: Path) -> None:
    with pytest.raises(EngineError, match=r"choose another precision, .*; of this bundle fp32 does"):
        Reader.load(tiny_copy, precision="int8", device="cuda")
    edit_manifest(tiny_copy, lambda content: content["graphs"].pop("fp32"))
    with pytest.raises(
        EngineError,
        match=r"--precision fp32 adds it, where CHECKPOINT is what the bundle was made of \(tiny-bert\)",
    ):
        Reader.load(tiny_copy, precision="int8", device="cuda")


def test_fused_graphs_do_not_run_in_tensorrt() -> None:
    said = "Attention, .* are ONNX Runtime's own operators, which TensorRT does not know: .* --no-fusion"
    with pytest.raises(EngineError, match=said):
        Reader.load(TINY, precision="fp32", engine="tensorrt", device="cuda")
    with pytest.raises(EngineError, match=r"none of which runs on tensorrt/cuda: .* --precision fp32 --no-fusion"):
        Reader.load(TINY, engine="tensorrt", device="cuda")


@pytest.mark.parametrize("precision", ["fp32", None])
def test_tensorrt_runs_the_plain_fp32_graph(
    tiny_copy: Path, tiny_bundle: Bundle, calls: list[dict[str, Any]], precision: str | None
) -> None:
    make_plain(tiny_copy)
    reader = Reader.load(tiny_copy, engine="tensorrt", device="cuda", precision=precision)
    assert (str(reader.backend), reader.precision) == ("tensorrt/cuda", "fp32")
    [call] = calls
    assert call == {
        "graph": BundleGraph(FolderFiles(tiny_copy), tiny_bundle.graph("fp32").file, None),
        "backend": Backend("tensorrt", "cuda"),
        "threads": None,
        "precision": "fp32",
        "inputs": tiny_bundle.manifest.inputs,
        "longest": tiny_bundle.manifest.max_positions,
        "pad_id": tiny_bundle.manifest.pad_id,
    }


def test_tensorrt_makes_fp16_of_the_plain_fp32_graph_only_when_asked(
    tiny_copy: Path, tiny_bundle: Bundle, calls: list[dict[str, Any]]
) -> None:
    make_plain(tiny_copy)
    assert Reader.load(tiny_copy, engine="tensorrt", device="cuda", precision="fp16").precision == "fp16"
    assert calls[0]["graph"].file == tiny_bundle.graph("fp32").file
    assert calls[0]["precision"] == "fp16"
    bundle = Bundle.load(tiny_copy)
    assert bundle.graph_for("fp16", Backend("tensorrt", "cuda")) == bundle.graph("fp32")
    assert bundle.receipt("fp16") is None, "nobody measured it"
    with pytest.raises(BundleError, match="not fp16"):  # in CUDA a graph's precision is its own
        Reader.load(tiny_copy, device="cuda", precision="fp16")


def test_a_plain_fp16_graph_comes_before_the_fp32_one(
    tiny_copy: Path, tiny_bundle: Bundle, calls: list[dict[str, Any]]
) -> None:
    make_plain(tiny_copy)

    def change(content: dict[str, Any]) -> None:
        content["graphs"]["fp16"] = {**content["graphs"]["int8"], "engines": ["tensorrt/cuda"], "kind": "plain"}

    edit_manifest(tiny_copy, change)
    for precision in (None, "fp16"):
        assert Reader.load(tiny_copy, engine="tensorrt", device="cuda", precision=precision).precision == "fp16"
    assert {call["graph"].file for call in calls} == {tiny_bundle.graph("int8").file}
