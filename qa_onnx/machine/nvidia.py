"""What there is of NVIDIA: driver, GPUs, and the CUDA libraries that the installed ONNX Runtime could load.

Nothing of ONNX Runtime is imported. Left out: whether a graph runs on the GPU, which only running one tells.
"""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from qa_onnx.machine.gpu import pip_files

_DRIVER = Path("/proc/driver/nvidia")
_SECONDS = 15  # nvidia-smi takes long where a GPU sleeps, and hangs where one is broken

# The oldest driver for each major version of CUDA, from the release notes of its toolkit.
OLDEST_DRIVER = {12: 525, 13: 580}


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its name, and its memory in MiB; None: not known."""

    name: str
    memory: int | None


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library that the CUDA provider of ONNX Runtime needs.

    Attributes:
        name: of its file.
        error: why it cannot be loaded; None: it can.
    """

    name: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvidia:
    """What there is of NVIDIA.

    Attributes:
        driver: its version; None: no driver was found.
        gpus: that the driver lists.
        said: what nvidia-smi said instead of listing them; None: it did, or is not there.
        cuda: version of CUDA that the installed ONNX Runtime was built for; None: for none.
        libraries: what it needs; empty where it was built for none, and off Linux.
        wheels: versions of NVIDIA's packages that pip installed.
    """

    driver: str | None
    gpus: tuple[Gpu, ...]
    said: str | None
    cuda: str | None
    libraries: tuple[Library, ...]
    wheels: dict[str, str]

    @property
    def too_old(self) -> str | None:
        """The driver that this CUDA needs at least, where there is an older one."""
        needed = OLDEST_DRIVER.get(int((self.cuda or "0").partition(".")[0]))
        major = re.match(r"\d+", self.driver or "")
        return str(needed) if needed and major and int(major[0]) < needed else None

    @property
    def not_loaded(self) -> tuple[str, ...]:
        """Names of the libraries that cannot be loaded."""
        return tuple(library.name for library in self.libraries if library.error is not None)


def survey() -> Nvidia:
    """Ask nvidia-smi, or else the driver's files, and try to load the libraries."""
    driver, gpus, said = _nvidia_smi()
    if driver is None:
        driver, gpus = _proc()
    cuda = wheel_cuda()
    names = _libraries(int(cuda.partition(".")[0])) if cuda and platform.system() == "Linux" else ()
    return Nvidia(
        driver=driver,
        gpus=gpus,
        said=said,
        cuda=cuda,
        libraries=tuple(_load(name) for name in names),
        wheels=_wheels(),
    )


def _nvidia_smi() -> tuple[str | None, tuple[Gpu, ...], str | None]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None, (), None
    query = [program, "--query-gpu=driver_version,memory.total,name", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            query, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None, (), f"nvidia-smi did not end in {_SECONDS} s"
    except OSError as error:
        return None, (), f"nvidia-smi cannot be run: {error}"
    rows = [line.split(", ", 2) for line in done.stdout.splitlines()]
    rows = [row for row in rows if len(row) == 3]
    if done.returncode != 0 or not rows:
        said = " ".join((done.stdout + done.stderr).split())
        return None, (), f"nvidia-smi ended with exit code {done.returncode}: {said:.200}"
    gpus = tuple(Gpu(name, int(memory) if memory.isdigit() else None) for _, memory, name in rows)
    return rows[0][0], gpus, None


def _proc() -> tuple[str | None, tuple[Gpu, ...]]:
    """Driver and GPUs as its files in /proc tell, which a container may have without nvidia-smi."""
    try:
        text = (_DRIVER / "version").read_text()
        match = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
        listed = sorted(_DRIVER.glob("gpus/*/information"))
        models = [re.search(r"^Model:\s*(.+)$", file.read_text(), re.MULTILINE) for file in listed]
    except OSError:
        return None, ()
    return match[1] if match else "unknown", tuple(Gpu(model[1].strip(), None) for model in models if model)


def wheel_cuda() -> str | None:
    """Version of CUDA that the installed ONNX Runtime says it was built for."""
    spec = PathFinder.find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        try:
            text = (Path(folder) / "capi" / "build_and_package_info.py").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if match := re.search(r"""^cuda_version\s*=\s*['"](\d+[\d.]*)['"]""", text, re.MULTILINE):
            return match[1]
    return None


def _libraries(cuda: int) -> tuple[str, ...]:
    """Files that the CUDA provider needs, in an order in which they load: cuBLAS wants cuBLASLt."""
    return (
        f"libcudart.so.{cuda}",
        f"libcublasLt.so.{cuda}",
        f"libcublas.so.{cuda}",
        "libcurand.so.10",
        f"libcufft.so.{cuda - 1}",  # 11 in CUDA 12, 12 in CUDA 13
        "libcudnn.so.9",
    )


def _load(name: str) -> Library:
    """Load a library as onnxruntime.preload_dlls does: pip's first, then wherever the system looks."""
    said = ""
    for path in (*map(str, pip_files(name)), name):
        try:
            ctypes.CDLL(path)
        except OSError as error:
            said = said or str(error)
        else:
            return Library(name, None)
    return Library(name, said)


def _wheels() -> dict[str, str]:
    found = {}
    for distribution in metadata.distributions():
        fields = distribution.metadata
        if "Name" in fields and fields["Name"].lower().startswith("nvidia-"):  # damaged metadata has none
            found[fields["Name"].lower()] = distribution.version
    return dict(sorted(found.items()))
