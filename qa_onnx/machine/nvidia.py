"""NVIDIA on this machine: driver, GPUs, the libraries that ONNX Runtime needs, and why a GPU cannot be used.

`survey` lists what is there, without ONNX Runtime. `usable_gpu` refuses a machine before a graph is opened, since
ONNX Runtime itself prints to stderr what is missing and goes on with the CPU. `explain` translates what it raises.
Left out: whether a graph runs on the GPU, which only running one shows.
"""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from qa_onnx.errors import DeviceError

_PROC = Path("/proc/driver/nvidia")
_SECONDS = 15  # nvidia-smi takes long while a GPU sleeps, and hangs if one is broken
DRIVER = "libcuda.so.1"
TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvonnxparser.so.10")
_OPTIONAL = ("libcufft", "libcudnn")  # our graphs run without these from ONNX Runtime 1.28 on

# The oldest driver for each major version of CUDA, from the release notes of its toolkit.
_OLDEST_DRIVER = {12: 525, 13: 580}

_NO_DRIVER = "no NVIDIA driver is found"
INSTALL_DRIVER = "install the driver, or start the container with --gpus all, until nvidia-smi lists a GPU"
_NO_GPU = "the NVIDIA driver has no GPU to use"
_SHOW_GPU = "see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES"
_FORKED = (
    "CUDA cannot be used in a process that was forked from one that used it",
    "start processes with the method spawn, or load the reader in each",
)
_PIP_LINE = "pip install 'qa-onnx[gpu]'"

# What ONNX Runtime raises -> what it means, and the remedy. Errors of CUDA: 2 out of memory, 3 initialization,
# 35 insufficient driver, 100 no device, 209 no kernel image.
_MEANINGS = {
    r"CUDA failure 35\b|driver version is insufficient": (
        "the NVIDIA driver is too old for the CUDA that onnxruntime-gpu was built for",
        "update the driver",
    ),
    r"CUDA failure 100\b|no CUDA-capable device": (_NO_GPU, _SHOW_GPU),
    r"CUDA failure 209\b|no kernel image": (
        "the installed onnxruntime-gpu was not built for this GPU",
        "install another release of it",
    ),
    r"CUDA failure 3\b|initialization error": _FORKED,
    r"CUDA failure 2\b|out of memory|Failed to allocate memory|Available memory of \d+ is smaller": (
        "the GPU has too little free memory",
        "use smaller batches (Options.batch_tokens), or end what else uses it",
    ),
    r"libcudnn|CUDNN_STATUS|cuDNN": ("cuDNN is missing or of another version", _PIP_LINE),
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its name, and its memory in MiB; None: unknown."""

    name: str
    memory: int | None


@dataclass(frozen=True, slots=True)
class Library:
    """A library that the CUDA provider uses: the name of its file, and why it does not load; None: it does."""

    name: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvidia:
    """What this machine has of NVIDIA's.

    Attributes:
        driver: its version; None: there is no driver.
        gpus: those that the driver lists.
        nvidia_smi_error: why nvidia-smi failed, with its output; None: it succeeded, or is not installed.
        cuda: version of CUDA that the installed ONNX Runtime was built for; None: for none.
        libraries: what ONNX Runtime needs; empty if it was built for no CUDA, and on other systems than Linux.
        wheels: versions of NVIDIA's packages that pip installed.
    """

    driver: str | None
    gpus: tuple[Gpu, ...]
    nvidia_smi_error: str | None
    cuda: str | None
    libraries: tuple[Library, ...]
    wheels: dict[str, str]

    @property
    def not_loaded(self) -> tuple[str, ...]:
        """Names of the libraries that cannot be loaded."""
        return tuple(library.name for library in self.libraries if library.error is not None)


def survey() -> Nvidia:
    """Ask nvidia-smi, or else read the driver's files, and try to load the libraries."""
    driver, gpus, error = _nvidia_smi()
    if driver is None:
        driver, gpus = _proc()
    cuda = wheel_cuda()
    names = cuda_libraries(cuda or "") if platform.system() == "Linux" else ()
    wheels = {}
    for distribution in metadata.distributions():
        fields = distribution.metadata
        if "Name" in fields and fields["Name"].lower().startswith("nvidia-"):  # damaged metadata has no name
            wheels[fields["Name"].lower()] = distribution.version
    return Nvidia(
        driver=driver,
        gpus=gpus,
        nvidia_smi_error=error,
        cuda=cuda,
        libraries=tuple(map(load_library, names)),
        wheels=dict(sorted(wheels.items())),
    )


def _nvidia_smi() -> tuple[str | None, tuple[Gpu, ...], str | None]:
    """Return the driver's version, the GPUs, and the error if nvidia-smi fails."""
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
    rows = [row for line in done.stdout.splitlines() if len(row := line.split(", ", 2)) == 3]
    if done.returncode != 0 or not rows:
        output = " ".join((done.stdout + done.stderr).split())
        return None, (), f"nvidia-smi ended with exit code {done.returncode}: {output:.200}"
    gpus = tuple(Gpu(name, int(memory) if memory.isdigit() else None) for _, memory, name in rows)
    return rows[0][0], gpus, None


def _proc() -> tuple[str | None, tuple[Gpu, ...]]:
    """Read driver and GPUs from /proc, which a container may have without nvidia-smi."""
    try:
        text = (_PROC / "version").read_text()
        match = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
        files = sorted(_PROC.glob("gpus/*/information"))
        models = [re.search(r"^Model:\s*(.+)$", file.read_text(), re.MULTILINE) for file in files]
    except OSError:
        return None, ()
    return match[1] if match else "unknown", tuple(Gpu(model[1].strip(), None) for model in models if model)


def wheel_cuda() -> str | None:
    """Return the version of CUDA that the installed ONNX Runtime was built for, without importing it."""
    spec = PathFinder.find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        try:
            text = (Path(folder) / "capi" / "build_and_package_info.py").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if match := re.search(r"""^cuda_version\s*=\s*['"](\d+[\d.]*)['"]""", text, re.MULTILINE):
            return match[1]
    return None


def _major(version: str) -> int:
    """Return 13 of "13.0", and 0 of an unknown version."""
    match = re.match(r"\d+", version)
    return int(match[0]) if match else 0


def cuda_libraries(cuda: str) -> tuple[str, ...]:
    """Return the files that the CUDA provider uses, in an order in which they load: cuBLAS needs cuBLASLt."""
    major = _major(cuda)
    if not major:
        return ()
    versions = {"cudart": major, "cublasLt": major, "cublas": major, "curand": 10, "cufft": major - 1, "cudnn": 9}
    return tuple(f"lib{name}.so.{version}" for name, version in versions.items())


def load_library(name: str) -> Library:
    """Load a library as onnxruntime.preload_dlls does: pip's first, then wherever the system looks."""
    paths = []
    for package, folder in (("nvidia", "*/lib"), ("tensorrt_libs", ".")):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            paths += sorted(map(str, Path(root).glob(f"{folder}/{name}")))
    errors = []
    for path in (*paths, name):
        try:
            ctypes.CDLL(path)
        except OSError as error:
            errors.append(str(error))
        else:
            return Library(name, None)
    return Library(name, errors[0])


def usable_gpu(cuda: str, *, tensorrt: bool) -> str:
    """Return the name of the GPU that ONNX Runtime would use, after checking driver and libraries. Linux only.

    Args:
        cuda: the version of CUDA that ONNX Runtime was built for, such as "13.0"; "": unknown.
        tensorrt: whether TensorRT is needed too.

    Raises:
        DeviceError: there is no driver, it has no GPU for this process or is too old, or libraries that every
            ONNX Runtime needs are missing; the error names all of these at once.
    """
    errors, name = [], ""
    try:
        name = _driver_gpu(cuda)
    except DeviceError as error:
        errors.append(error)
    if missing := missing_libraries(cuda, tensorrt=tensorrt, ignored=_OPTIONAL):
        errors.append(missing)
    if errors:
        raise DeviceError("; ".join(e.problem for e in errors), remedy="; ".join(e.remedy for e in errors))
    return name


def missing_libraries(cuda: str, *, tensorrt: bool, ignored: tuple[str, ...] = ()) -> DeviceError | None:
    """Load the providers' libraries; return the error for missing ones that start with none of `ignored`."""
    libraries = map(load_library, cuda_libraries(cuda) + (TENSORRT_LIBRARIES if tensorrt else ()))
    names = [one.name for one in libraries if one.error is not None and not one.name.startswith(ignored)]
    return _missing(names, cuda) if names else None


def _driver_gpu(cuda: str) -> str:
    """Ask the driver for the name of the first GPU."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise DeviceError(f"{_NO_DRIVER} ({error})", remedy=INSTALL_DRIVER) from error
    version, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    _call(driver, "cuInit", 0)
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    _call(driver, "cuDeviceGet", ctypes.byref(device), 0)
    _call(driver, "cuDeviceGetName", name, len(name), device)
    major, minor = version.value // 1000, version.value % 1000 // 10
    if major < _major(cuda):
        oldest = _OLDEST_DRIVER.get(_major(cuda))
        raise DeviceError(
            f"the NVIDIA driver is too old: it runs CUDA {major}.{minor}, and the installed onnxruntime-gpu was "
            f"built for CUDA {cuda}",
            remedy=f"update the driver{f' to {oldest} or newer' if oldest else ''}, or install an onnxruntime-gpu "
            f"for CUDA {major}",
        )
    return name.value.decode(errors="replace")


def _call(driver: Any, function: str, *arguments: Any) -> None:
    code = getattr(driver, function)(*arguments)
    if code == 3:  # CUDA_ERROR_NOT_INITIALIZED
        raise DeviceError(_FORKED[0], remedy=_FORKED[1])
    if code != 0:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(text))
        reason = text.value.decode(errors="replace") if text.value else "unknown error"
        raise DeviceError(f"{_NO_GPU}: {reason} (CUDA error {code} of {function})", remedy=_SHOW_GPU)


def _missing(names: list[str], cuda: str) -> DeviceError:
    """Return the error for missing libraries, with the pip lines that bring them."""
    tensorrt = [name for name in names if name.startswith(("libnvinfer", "libnvonnxparser"))]
    cudnn = [name for name in names if name.startswith("libcudnn")]
    cuda_own = [name for name in names if name not in tensorrt + cudnn]
    lines = [_PIP_LINE] if len(tensorrt) < len(names) else []
    if tensorrt:
        lines.append(f"pip install 'tensorrt-cu{_major(cuda) or 13}=={tensorrt[0].rpartition('.')[2]}.*'")
    kinds = (("CUDA", cuda_own), ("cuDNN", cudnn), ("TensorRT", tensorrt))
    libraries = "; ".join(f"{kind} ({', '.join(files)})" for kind, files in kinds if files)
    wheel = f"the installed onnxruntime-gpu{f', built for CUDA {cuda},' if cuda else ''}"
    return DeviceError(f"{wheel} does not find {libraries}", remedy=" and ".join(lines))


def explain(text: str, *, cuda: str = "") -> DeviceError | None:
    """Return what an exception's text of ONNX Runtime means, with the remedy; None: it is not about the GPU."""
    if match := re.search(r"(lib[\w.+-]+\.so[\d.]*): cannot open shared object file", text):
        if match[1] == DRIVER:
            return DeviceError(f"{_NO_DRIVER} ({match[0]})", remedy=INSTALL_DRIVER)
        return _missing([match[1]], cuda)
    for pattern, (problem, remedy) in _MEANINGS.items():
        if re.search(pattern, text):
            return DeviceError(problem, remedy=remedy)
    return None
