"""NVIDIA: what tools, files and libraries tell, and every reason against a GPU. None of this needs a GPU."""

from __future__ import annotations

import ctypes
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import DeviceError
from qa_onnx.machine import nvidia

if TYPE_CHECKING:
    from collections.abc import Callable

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux has")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without anything of NVIDIA's; packages are looked for in `site`, programs in `bin`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "site").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setattr(nvidia, "_PROC", tmp_path / "driver")
    return tmp_path


@pytest.fixture
def smi(bare: Path) -> Callable[[str], None]:
    """Puts an nvidia-smi in place that runs some lines of shell."""

    def make(script: str) -> None:
        program = bare / "bin/nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return make


def wheel(bare: Path, cuda: str) -> None:
    """An onnxruntime that says what CUDA it was built for, and cannot be imported."""
    capi = bare / "site/onnxruntime/capi"
    capi.mkdir(parents=True)
    (bare / "site/onnxruntime/__init__.py").write_text("raise SystemExit('imported')\n")
    (capi / "build_and_package_info.py").write_text(f"package_name = 'onnxruntime-gpu'\ncuda_version = '{cuda}'\n")


def some_library() -> Path:
    """A shared library of this process that any other can load."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next(Path(line.split()[-1]) for line in lines if Path(line.split()[-1]).name.startswith("libm.so"))


def test_a_machine_without_nvidia(bare: Path) -> None:
    assert nvidia.survey() == nvidia.Nvidia(
        driver=None, gpus=(), nvidia_smi_error=None, cuda=None, libraries=(), wheels={}
    )


@linux
def test_nvidia_smi_lists_the_gpus(smi: Callable[[str], None]) -> None:
    smi('echo "580.95.05, 81559, NVIDIA H100, 80GB HBM3"; echo "580.95.05, [N/A], NVIDIA GB10"')
    state = nvidia.survey()
    assert state.driver == "580.95.05"
    assert state.gpus == (nvidia.Gpu("NVIDIA H100, 80GB HBM3", 81559), nvidia.Gpu("NVIDIA GB10", None))
    assert state.nvidia_smi_error is None


@linux
@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"#!/bin/sh\necho 'Driver mismatch'; exit 18", "nvidia-smi ended with exit code 18: Driver mismatch"),
        (b"#!/bin/sh\nexit 0", "nvidia-smi ended with exit code 0"),
        (b"#!/bin/sh\nexec /bin/sleep 30", "nvidia-smi did not end in 0.2 s"),
        (b"\x7fELF, but not really", "nvidia-smi cannot be run"),
    ],
)
def test_an_nvidia_smi_that_fails_says_why(
    smi: Callable[[str], None], bare: Path, program: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if b"sleep" in program:
        monkeypatch.setattr(nvidia, "_SECONDS", 0.2)
    smi("")
    (bare / "bin/nvidia-smi").write_bytes(program)
    state = nvidia.survey()
    assert state.driver is None
    assert state.nvidia_smi_error is not None
    assert message in state.nvidia_smi_error


def test_the_drivers_files_tell_where_there_is_no_nvidia_smi(bare: Path) -> None:
    (bare / "driver/gpus/0000:01:00.0").mkdir(parents=True)
    (bare / "driver/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n"
    )
    (bare / "driver/gpus/0000:01:00.0/information").write_text("Model: \t\t NVIDIA A10\nIRQ:   \t\t 33\n")
    state = nvidia.survey()
    assert state.driver == "535.183.01"
    assert state.gpus == (nvidia.Gpu("NVIDIA A10", None),)


@linux
def test_the_wheel_tells_its_cuda_without_being_imported(bare: Path) -> None:
    wheel(bare, "12.8")
    state = nvidia.survey()
    assert state.cuda == "12.8"
    names = [library.name for library in state.libraries]
    assert names.index("libcublasLt.so.12") < names.index("libcublas.so.12")
    assert {"libcudart.so.12", "libcufft.so.11", "libcudnn.so.9"} <= set(names)


def test_a_wheel_for_the_cpu_needs_no_libraries(bare: Path) -> None:
    wheel(bare, "")
    assert nvidia.survey().libraries == ()
    assert nvidia.survey().cuda is None


@linux
def test_libraries_of_pip_are_loaded_and_what_is_missing_is_named(bare: Path) -> None:
    wheel(bare, "97.1")  # a CUDA that no machine has beside them
    for folder, name in (("cu97", "libcudart.so.97"), ("cublas", "libcublasLt.so.97")):
        (bare / f"site/nvidia/{folder}/lib").mkdir(parents=True)
        shutil.copy(some_library(), bare / f"site/nvidia/{folder}/lib/{name}")
    (bare / "site/nvidia/cublas/lib/libcublas.so.97").write_text("no library")
    state = {library.name: library.error for library in nvidia.survey().libraries}
    assert state["libcudart.so.97"] is None
    assert state["libcublasLt.so.97"] is None
    assert "invalid ELF header" in (state["libcublas.so.97"] or "") or "file too short" in (
        state["libcublas.so.97"] or ""
    )
    assert "libcufft.so.96" in nvidia.survey().not_loaded


def test_nvidias_wheels_are_listed(bare: Path) -> None:
    for name in ("nvidia_cudnn_cu13-9.13.0", "other-1.0"):
        folder = bare / f"site/{name}.dist-info"
        folder.mkdir()
        project, version = name.split("-")
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project.replace('_', '-')}\nVersion: {version}\n"
        )
    (bare / "site/broken-1.0.dist-info").mkdir()
    assert nvidia.survey().wheels == {"nvidia-cudnn-cu13": "9.13.0"}


# usable_gpu


class FakeDriver:
    """libcuda.so.1: its functions return codes by name."""

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


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Gives this process a driver and libraries; returns the list of what is loaded."""

    def make(driver: FakeDriver | None = None, *, lacks: tuple[str, ...] = ()) -> list[str]:
        loaded: list[str] = []

        def load(name: str) -> object:
            if name.startswith(lacks) or (driver is None and name == "libcuda.so.1"):
                raise OSError(f"{name}: cannot open shared object file: No such file or directory")
            loaded.append(name)
            return driver

        monkeypatch.setattr(ctypes, "CDLL", load)
        return loaded

    return make


@linux
@pytest.mark.usefixtures("bare")
def test_a_usable_gpu_is_named_and_libraries_are_loaded_in_order(loads: Callable[..., list[str]]) -> None:
    loaded = loads(FakeDriver(version=13020))
    assert nvidia.usable_gpu("13.0", tensorrt=True) == "NVIDIA H100"
    assert loaded == [
        "libcuda.so.1",
        *("libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13"),
        *("libcurand.so.10", "libcufft.so.12", "libcudnn.so.9"),
        *("libnvinfer.so.10", "libnvonnxparser.so.10"),
    ]
    loads(FakeDriver(), lacks=("libcudnn", "libcufft"))  # ONNX Runtime 1.28 and newer run without them
    assert nvidia.usable_gpu("13.0", tensorrt=False) == "NVIDIA H100"


def test_pips_library_comes_before_the_systems(bare: Path, loads: Callable[..., list[str]]) -> None:
    paths = [bare / "site/nvidia/cu13/lib/libcublas.so.13", bare / "site/tensorrt_libs/libnvinfer.so.10"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.touch()
    loaded = loads(FakeDriver())
    nvidia.usable_gpu("13.0", tensorrt=True)
    assert {*map(str, paths)} <= set(loaded)
    assert not {"libcublas.so.13", "libnvinfer.so.10"} & set(loaded)


def refused(cuda: str = "13.0", *, tensorrt: bool = False) -> DeviceError:
    with pytest.raises(DeviceError) as error:
        nvidia.usable_gpu(cuda, tensorrt=tensorrt)
    return error.value


@pytest.mark.usefixtures("bare")
def test_driver_and_libraries_that_are_missing_are_named_at_once(loads: Callable[..., list[str]]) -> None:
    loads(None, lacks=("libcublas", "libnv"))
    error = refused(tensorrt=True)
    assert error.problem == (
        "no NVIDIA driver is found (libcuda.so.1: cannot open shared object file: No such file or directory); the "
        "installed onnxruntime-gpu, built for CUDA 13.0, does not find CUDA (libcublasLt.so.13, libcublas.so.13); "
        "TensorRT (libnvinfer.so.10, libnvonnxparser.so.10)"
    )
    assert error.remedy == (
        "install the driver, or start the container with --gpus all, until nvidia-smi lists a GPU; pip install "
        "'qa-onnx[gpu]' and pip install 'tensorrt-cu13==10.*'"
    )


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("driver", "cuda", "problem", "remedy"),
    [
        (
            FakeDriver(cuInit=100),
            "13.0",
            "has no GPU to use: no CUDA-capable device is detected (CUDA error 100 of cuInit)",
            "CUDA_VISIBLE_DEVICES",
        ),
        (FakeDriver(cuDeviceGet=101), "13.0", "(CUDA error 101 of cuDeviceGet)", "CUDA_VISIBLE_DEVICES"),
        (FakeDriver(cuInit=3), "13.0", "forked from one that used it", "start processes with the method spawn"),
        (
            FakeDriver(version=12040),
            "13.0",
            "is too old: it runs CUDA 12.4, and the installed onnxruntime-gpu was built for CUDA 13.0",
            "update the driver to 580 or newer, or install an onnxruntime-gpu for CUDA 12",
        ),
        (
            FakeDriver(version=11040),
            "12.8",
            "is too old: it runs CUDA 11.4, and the installed onnxruntime-gpu was built for CUDA 12.8",
            "update the driver to 525 or newer, or install an onnxruntime-gpu for CUDA 11",
        ),
        (
            FakeDriver(version=13000),
            "99.0",
            "is too old: it runs CUDA 13.0, and the installed onnxruntime-gpu was built for CUDA 99.0",
            "update the driver, or install an onnxruntime-gpu for CUDA 13",
        ),
    ],
)
def test_a_driver_that_cannot_be_used(
    driver: FakeDriver, cuda: str, problem: str, remedy: str, loads: Callable[..., list[str]]
) -> None:
    loads(driver)
    error = refused(cuda)
    assert problem in error.problem
    assert remedy in error.remedy


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("cuda", ["12.8", "12.0", "11.8", ""])
def test_a_driver_runs_older_cuda_and_newer_minor_versions(cuda: str, loads: Callable[..., list[str]]) -> None:
    loads(FakeDriver(version=12040))
    assert nvidia.usable_gpu(cuda, tensorrt=False) == "NVIDIA H100"


@pytest.mark.usefixtures("bare")
def test_missing_libraries_name_what_installs_them(loads: Callable[..., list[str]]) -> None:
    loads(FakeDriver(), lacks=("libnv",))
    assert str(nvidia.missing_libraries("12.8", tensorrt=True)) == (
        "the installed onnxruntime-gpu, built for CUDA 12.8, does not find TensorRT (libnvinfer.so.10, "
        "libnvonnxparser.so.10): pip install 'tensorrt-cu12==10.*'"
    )
    loads(FakeDriver(), lacks=("libcublasLt", "libcudnn"))
    assert str(nvidia.missing_libraries("12.8", tensorrt=True)) == (
        "the installed onnxruntime-gpu, built for CUDA 12.8, does not find CUDA (libcublasLt.so.12); cuDNN "
        "(libcudnn.so.9): pip install 'qa-onnx[gpu]'"
    )
    loads(FakeDriver())
    assert nvidia.missing_libraries("12.8", tensorrt=True) is None


# explain


CALL = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:122 std::conditional_t<THRW, void, Status> "


@pytest.mark.parametrize(
    ("text", "meaning"),
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
        ("Invalid rank for input: input_ids", None),
        ("CUDA failure 30: unknown", None),
    ],
)
def test_what_onnx_runtime_raises_is_explained(text: str, meaning: str | None) -> None:
    error = nvidia.explain(text, cuda="13.0")
    if meaning is None:
        assert error is None
        return
    assert error
    assert error.remedy
    assert re.search(meaning, str(error))
