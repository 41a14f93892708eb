"""TensorRT: shapes and options of the provider, and a cache that no other graph, GPU, version or user shares."""

from __future__ import annotations

import ctypes
import stat
from pathlib import Path
from typing import Any

import pytest

from qa_onnx.engines import tensorrt

NAMES = ("input_ids", "attention_mask")


def options(precision: str = "fp32", longest: int = 512, cache: Path = Path("/cache")) -> dict[str, str]:
    return tensorrt.provider_options(NAMES, longest=longest, precision=precision, cache=cache)


def shapes(text: str) -> dict[str, tuple[int, ...]]:
    parts = [part.split(":") for part in text.split(",")]
    return {name: tuple(map(int, shape.split("x"))) for name, shape in parts}


@pytest.mark.parametrize("longest", [16, 128, 384, 500, 512, 8192])
def test_the_profile_covers_every_bucket_of_every_input(longest: int) -> None:
    least, usual, most = (
        shapes(options(longest=longest)[f"trt_profile_{which}_shapes"]) for which in ("min", "opt", "max")
    )
    for name in NAMES:
        assert least[name] == (1, min(32, longest))
        assert most[name] == (tensorrt.MOST_ROWS, longest)
        assert usual[name] == (8, min(384, longest))
    assert len(least) == len(usual) == len(most) == len(NAMES)


def test_precision_is_the_callers_choice_and_compiled_engines_are_kept() -> None:
    half, whole = options("fp16"), options("fp32")
    assert half["trt_fp16_enable"] == half["trt_layer_norm_fp32_fallback"] == "True"
    assert "trt_fp16_enable" not in whole
    assert "trt_int8_enable" not in half.keys() | whole.keys()
    assert whole["trt_engine_cache_enable"] == whole["trt_timing_cache_enable"] == "True"
    assert whole["trt_engine_cache_path"] == whole["trt_timing_cache_path"] == "/cache"


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "bundle" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(b"a graph")
    return path


def folder(graph: Path, **changes: Any) -> Path:
    facts = {"gpu": "NVIDIA H100", "versions": "onnxruntime 1.31.1, TensorRT 101600", "plan": "fp16 512"}
    return tensorrt.engine_folder(graph, **{**facts, **changes})


def test_the_cache_is_the_users_own_and_never_in_the_bundle(graph: Path, tmp_path: Path) -> None:
    path = folder(graph)
    assert path.is_dir()
    assert path.is_relative_to(tmp_path / "cache" / "qa-onnx" / "tensorrt")
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert folder(graph) == path
    assert list(graph.parent.iterdir()) == [graph]


def test_another_graph_gpu_version_or_plan_has_another_folder(graph: Path) -> None:
    folders = {
        folder(graph),
        folder(graph, gpu="NVIDIA L4"),
        folder(graph, versions="1.32"),
        folder(graph, plan=""),
    }
    moved = graph.rename(graph.with_name("other.onnx"))
    assert folder(moved) in folders, "its name does not matter"
    moved.write_bytes(b"another graph")
    assert len({*folders, folder(moved)}) == 5


def test_the_version_is_what_the_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def getInferLibVersion(self) -> int:  # noqa: N802 - TensorRT's name
            return 101600

    def missing(name: str) -> Any:
        raise OSError(name)

    for load, version in ((lambda _: Library(), "101600"), (missing, "unknown"), (lambda _: object(), "unknown")):
        monkeypatch.setattr(ctypes, "CDLL", load)
        assert tensorrt.version() == version
