"""GPU: every reason why one cannot be used is named, with what to do. None of this needs a GPU."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import DeviceError
from qa_onnx.machine import gpu

if TYPE_CHECKING:
    from pathlib import Path


class FakeDriver:
    """libcuda.so.1: what its functions answer, by name."""

    def __init__(self, *, version: int = 13000, **codes: int) -> None:
        self.version, self.codes = version, codes

    def __getattr__(self, name: str) -> Any:
        def function(*arguments: Any) -> int:
            if self.codes.get(name, 0) == 0:
                if name == "cuDriverGetVersion":
                    arguments[0]._obj.value = self.version
                if name == "cuDeviceGetName":
                    arguments[0].value = b"NVIDIA H100"
                if name == "cuGetErrorString":
                    arguments[1]._obj.value = b"no CUDA-capable device is detected"
            return self.codes.get(name, 0)

        return function


def missing(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file: No such file or directory")


def test_the_driver_tells_gpu_and_cuda() -> None:
    loaded: list[str] = []

    def load(name: str) -> FakeDriver:
        loaded.append(name)
        return FakeDriver(version=12040)

    assert gpu.read_driver(load) == gpu.Driver((12, 4), "NVIDIA H100")
    assert loaded == ["libcuda.so.1"]


def test_without_a_driver_the_file_and_the_remedy_are_named() -> None:
    with pytest.raises(DeviceError, match=r"no NVIDIA driver is found \(libcuda.so.1: cannot open.* nvidia-smi"):
        gpu.read_driver(missing)


@pytest.mark.parametrize("function", ["cuInit", "cuDeviceGet"])
def test_a_driver_without_a_gpu(function: str) -> None:
    reason = f"no CUDA-capable device is detected .CUDA error 100 of {function}.: .*CUDA_VISIBLE_DEVICES"
    with pytest.raises(DeviceError, match=reason):
        gpu.read_driver(lambda _: FakeDriver(**{function: 100}))


def test_a_forked_process_is_told_apart() -> None:
    with pytest.raises(DeviceError, match="forked from one that used it: start processes with the method spawn"):
        gpu.read_driver(lambda _: FakeDriver(cuInit=3))


def test_a_driver_older_than_the_wheels_cuda() -> None:
    driver = gpu.Driver((12, 4), "NVIDIA H100")
    with pytest.raises(
        DeviceError, match=r"too old: it runs CUDA 12\.4, .* built for CUDA 13\.0: update the driver"
    ):
        gpu.check_driver(driver, "13.0")
    for built_for in ("12.8", "12.0", "11.8", ""):  # a newer minor version is fine with an older driver
        gpu.check_driver(driver, built_for)


def test_libraries_are_loaded_in_whatever_order_they_need() -> None:
    loaded: list[str] = []

    def load(name: str) -> None:
        if name == "libcublas.so.13" and "libcublasLt.so.13" not in loaded:
            missing(name)
        loaded.append(name)

    assert gpu.load_all(["libcublas.so.13", "libcublasLt.so.13"], load) == []
    assert loaded == ["libcublasLt.so.13", "libcublas.so.13"]
    assert gpu.load_all(
        ["libcurand.so.10", "libcublas.so.13"], lambda name: None if "cub" in name else missing(name)
    ) == ["libcurand.so.10"]
    assert gpu.load_all([], missing) == []


def test_only_nvidias_libraries_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["libcublas.so.13", "libcudnn.so.9", "libcuda.so.1", "libc.so.6", "libstdc++.so.6"]
    monkeypatch.setattr(gpu, "needed_by", lambda _: needed)
    monkeypatch.setattr(gpu, "pip_files", lambda _: [])
    asked: list[str] = []

    def load(name: str) -> None:
        asked.append(name)

    gpu.check_libraries([tmp_path, tmp_path], built_for="13.0", load=load)
    assert asked == needed[:2]
    with pytest.raises(DeviceError, match=r"CUDA \(libcublas.so.13\); cuDNN \(libcudnn.so.9\).*'qa-onnx\[gpu\]'"):
        gpu.check_libraries([tmp_path, tmp_path], built_for="13.0", load=missing)


def test_pips_library_comes_before_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia" / "cu13" / "lib").mkdir(parents=True)
    ours = tmp_path / "nvidia" / "cu13" / "lib" / "libcublas.so.13"
    ours.touch()
    (tmp_path / "tensorrt_libs").mkdir()
    compiler = tmp_path / "tensorrt_libs" / "libnvinfer.so.10"
    compiler.touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    asked: list[str] = []

    def load(name: str) -> None:
        asked.append(name)

    names = ["libcublas.so.13", "libnvinfer.so.10", "libcurand.so.10"]
    assert gpu.load_all(names, load) == []
    assert asked == [str(ours), str(compiler), "libcurand.so.10"]


def test_another_version_that_is_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("libcublas.so.12", "libcublas.so.12.8.4.1", "libcublasLt.so.12", "libcurand.so.10"):
        (tmp_path / name).touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{tmp_path}")
    monkeypatch.setattr(gpu, "_FOLDERS", ())
    monkeypatch.setattr(gpu, "needed_by", lambda _: ["libcublas.so.13", "libcublasLt.so.13"])
    said = r"there is libcublas.so.12, libcublasLt.so.12, which is another version: pip install 'qa-onnx\[gpu\]'$"
    with pytest.raises(DeviceError, match=said):
        gpu.check_libraries([tmp_path, tmp_path], built_for="13.0", load=missing)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["libcublasLt.so.12", "libcudnn.so.9"],
            "the installed onnxruntime-gpu, built for CUDA 12.8, does not find CUDA (libcublasLt.so.12); cuDNN "
            "(libcudnn.so.9): pip install 'qa-onnx[gpu]'",
        ),
        (
            ["libnvinfer.so.10", "libnvonnxparser.so.10"],
            "the installed onnxruntime-gpu, built for CUDA 12.8, does not find TensorRT (libnvinfer.so.10, "
            "libnvonnxparser.so.10): pip install 'tensorrt-cu12==10.*'",
        ),
        (
            ["libnvrtc.so.12", "libnvinfer.so.10"],
            "the installed onnxruntime-gpu, built for CUDA 12.8, does not find CUDA (libnvrtc.so.12); TensorRT "
            "(libnvinfer.so.10): pip install 'qa-onnx[gpu]' and pip install 'tensorrt-cu12==10.*'",
        ),
    ],
)
def test_missing_libraries_are_sorted_by_what_brings_them(names: list[str], expected: str) -> None:
    assert gpu.describe_missing(names, built_for="12.8") == expected


CALL = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:122 std::conditional_t<THRW, void, Status> "


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : Failed to load library libonnxruntime_providers_cuda.so with error: "
            "libcublasLt.so.13: cannot open shared object file: No such file or directory",
            r"does not find CUDA \(libcublasLt.so.13\): pip install 'qa-onnx\[gpu\]'",
        ),
        ("libcuda.so.1: cannot open shared object file: No such file", "no NVIDIA driver is found"),
        ("libcudnn.so.9: cannot open shared object file", r"does not find cuDNN \(libcudnn.so.9\)"),
        (
            f"{CALL}CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version",
            "driver is too old",
        ),
        (f"{CALL}CUDA failure 100: no CUDA-capable device is detected ; GPU=-1", "has no GPU to use"),
        (f"{CALL}CUDA failure 3: initialization error ; GPU=0", "forked"),
        (f"{CALL}CUDA failure 2: out of memory ; GPU=0", "too little free memory.*batch_tokens"),
        ("Failed to allocate memory for requested buffer of size 4096", "too little free memory"),
        (
            "bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, Stream*) "
            "Available memory of 5541120 is smaller than requested bytes of 10240000",
            "too little free memory",
        ),
        (f"{CALL}CUDA failure 209: no kernel image is available for execution", "not built for this GPU"),
        ("CUDNN failure 1: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0", "cuDNN is missing or of another version"),
    ],
)
def test_what_onnx_runtime_raises_is_explained(said: str, meaning: str) -> None:
    found = gpu.explain(said, built_for="13.0")
    assert found is not None
    with pytest.raises(DeviceError, match=meaning):
        raise DeviceError(found)


@pytest.mark.parametrize("said", ["Invalid rank for input: input_ids", "CUDA failure 30: unknown", ""])
def test_what_is_not_known_is_left_as_it_is(said: str) -> None:
    assert gpu.explain(said) is None


def test_the_drivers_functions_take_what_ctypes_passes() -> None:
    version = ctypes.c_int()
    assert FakeDriver(version=12080).cuDriverGetVersion(ctypes.byref(version)) == 0
    assert version.value == 12080
