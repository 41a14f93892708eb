"""NVIDIA: what its tools, its files and its libraries tell, with stand-ins for a machine that has a GPU."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
    monkeypatch.setattr(nvidia, "_DRIVER", tmp_path / "driver")
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


def test_nothing_is_there(bare: Path) -> None:
    assert nvidia.survey() == nvidia.Nvidia(driver=None, gpus=(), said=None, cuda=None, libraries=(), wheels={})


@linux
def test_nvidia_smi_lists_the_gpus(smi: Callable[[str], None]) -> None:
    smi('echo "580.95.05, 81559, NVIDIA H100, 80GB HBM3"; echo "580.95.05, [N/A], NVIDIA GB10"')
    found = nvidia.survey()
    assert found.driver == "580.95.05"
    assert found.gpus == (nvidia.Gpu("NVIDIA H100, 80GB HBM3", 81559), nvidia.Gpu("NVIDIA GB10", None))
    assert found.said is None


@linux
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Driver/library version mismatch'; exit 18", "exit code 18: Driver/library version mismatch"),
        ("exit 0", "exit code 0"),
    ],
)
def test_what_nvidia_smi_says_instead_is_kept(smi: Callable[[str], None], script: str, said: str) -> None:
    smi(script)
    found = nvidia.survey()
    assert found.driver is None
    assert found.said is not None
    assert said in found.said


@linux
def test_an_nvidia_smi_that_hangs_is_left(smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_SECONDS", 0.2)
    smi("exec /bin/sleep 30")
    assert nvidia.survey().said == "nvidia-smi did not end in 0.2 s"


@linux
def test_an_nvidia_smi_that_cannot_be_run(smi: Callable[[str], None], bare: Path) -> None:
    smi("")
    (bare / "bin/nvidia-smi").write_bytes(b"\x7fELF, but not really")
    assert "nvidia-smi cannot be run" in (nvidia.survey().said or "")


def test_the_drivers_files_tell_where_there_is_no_nvidia_smi(bare: Path) -> None:
    (bare / "driver/gpus/0000:01:00.0").mkdir(parents=True)
    (bare / "driver/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n"
    )
    (bare / "driver/gpus/0000:01:00.0/information").write_text("Model: \t\t NVIDIA A10\nIRQ:   \t\t 33\n")
    found = nvidia.survey()
    assert found.driver == "535.183.01"
    assert found.gpus == (nvidia.Gpu("NVIDIA A10", None),)


@linux
def test_the_wheel_tells_its_cuda_without_being_imported(bare: Path) -> None:
    wheel(bare, "12.8")
    found = nvidia.survey()
    assert found.cuda == "12.8"
    names = [library.name for library in found.libraries]
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
    found = {library.name: library.error for library in nvidia.survey().libraries}
    assert found["libcudart.so.97"] is None
    assert found["libcublasLt.so.97"] is None
    assert "invalid ELF header" in (found["libcublas.so.97"] or "") or "file too short" in (
        found["libcublas.so.97"] or ""
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


@pytest.mark.parametrize(
    ("driver", "cuda", "needed"),
    [
        ("535.183.01", "13.0", "580"),
        ("580.95.05", "13.0", None),
        ("535.183.01", "12.8", None),
        ("470.1", "12.8", "525"),
        (None, "13.0", None),
        ("unknown", "13.0", None),
        ("535.183.01", None, None),
        ("535.183.01", "99.0", None),
    ],
)
def test_a_driver_may_be_too_old(driver: str | None, cuda: str | None, needed: str | None) -> None:
    found = nvidia.Nvidia(driver=driver, gpus=(), said=None, cuda=cuda, libraries=(), wheels={})
    assert found.too_old == needed
