"""Why a GPU that was asked for cannot be used: driver, GPU, CUDA, cuDNN or TensorRT; found before it is tried.

ONNX Runtime says it on stderr, in lines that a program cannot read, and goes on with the CPU. So what its provider
needs is read from the provider's own file, and looked for as the loader will. Linux only; elsewhere ONNX Runtime
has the first word, and `explain` reads what it says when it raises.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import DeviceError
from qa_onnx.machine.elf import needed_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Loader = Callable[[str], Any]

DRIVER = "libcuda.so.1"
# The libraries that a pip line brings; the others are the system's.
_NVIDIAS = re.compile(r"lib(cu|nv)\w*\.so")
_FOLDERS = ("/usr/local/cuda*/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64")
_NO_DRIVER = (
    "no NVIDIA driver is found ({error}): install it, or start the container with --gpus all, until nvidia-smi "
    "lists a GPU"
)
_FORKED = (
    "CUDA cannot be used in a process that was forked from one that used it: start processes with the method "
    "spawn, or load the reader in each"
)
_NAME_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Driver:
    """The NVIDIA driver.

    Attributes:
        cuda: the newest version of CUDA that it runs, major and minor.
        gpu: name of the first GPU.
    """

    cuda: tuple[int, int]
    gpu: str


def read_driver(load: Loader = ctypes.CDLL) -> Driver:
    """Ask the driver for the GPU that ONNX Runtime would use.

    Raises:
        DeviceError: there is no driver, or it has no GPU for this process.
    """
    try:
        cuda = load(DRIVER)
    except OSError as error:
        raise DeviceError(_NO_DRIVER.format(error=error)) from error
    _call(cuda, "cuInit", 0)
    version, device = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    _call(cuda, "cuDriverGetVersion", ctypes.byref(version))
    _call(cuda, "cuDeviceGet", ctypes.byref(device), 0)
    _call(cuda, "cuDeviceGetName", name, _NAME_LENGTH, device)
    return Driver((version.value // 1000, version.value % 1000 // 10), name.value.decode(errors="replace"))


def _call(cuda: Any, function: str, *arguments: Any) -> None:
    code = getattr(cuda, function)(*arguments)
    if code == 3:  # CUDA_ERROR_NOT_INITIALIZED
        raise DeviceError(_FORKED)
    if code != 0:
        said = ctypes.c_char_p()
        cuda.cuGetErrorString(code, ctypes.byref(said))
        reason = said.value.decode(errors="replace") if said.value else "unknown error"
        raise DeviceError(
            f"the NVIDIA driver has no GPU to use: {reason} (CUDA error {code} of {function}): see what "
            "nvidia-smi lists, and CUDA_VISIBLE_DEVICES"
        )


def check_driver(driver: Driver, built_for: str) -> None:
    """Refuse a driver that is older than the CUDA that ONNX Runtime was built for.

    Args:
        driver: what there is.
        built_for: CUDA's version, such as "13.0"; "": not known.

    Raises:
        DeviceError: it is older.
    """
    major = built_for.partition(".")[0]
    if major and driver.cuda[0] < int(major):
        has = ".".join(map(str, driver.cuda))
        raise DeviceError(
            f"the NVIDIA driver is too old: it runs CUDA {has}, and the installed onnxruntime-gpu was built for "
            f"CUDA {built_for}: update the driver, or install an onnxruntime-gpu for CUDA {driver.cuda[0]}"
        )


def check_libraries(providers: Sequence[Path], *, built_for: str, load: Loader = ctypes.CDLL) -> None:
    """Load what providers need beside the driver, from where pip put it or where the system looks.

    Args:
        providers: the providers' own libraries.
        built_for: see `check_driver`.
        load: loads a library by path or name.

    Raises:
        DeviceError: a library is missing; the message has the pip line.
    """
    needed = dict.fromkeys(name for provider in providers for name in needed_by(provider))
    missing = load_all([name for name in needed if _NVIDIAS.match(name) and name != DRIVER], load)
    if missing:
        raise DeviceError(describe_missing(missing, built_for=built_for, there=other_versions(missing)))


def load_all(names: Iterable[str], load: Loader = ctypes.CDLL) -> list[str]:
    """Load libraries; those that cannot be."""
    waiting, missing = list(names), []
    while waiting:  # one may need another that is listed after it
        missing = [name for name in waiting if not _loads(name, load)]
        if len(missing) == len(waiting):
            break
        waiting = missing
    return missing


def _loads(name: str, load: Loader) -> bool:
    for path in (*map(str, pip_files(name)), name):
        try:
            load(path)
        except OSError:
            continue
        return True
    return False


def pip_files(pattern: str) -> list[Path]:
    """Libraries in the packages that NVIDIA puts on PyPI."""
    found = []
    for package, folders in (("nvidia", "*/lib/"), ("tensorrt_libs", "")):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            found += sorted(Path(root).glob(folders + pattern))
    return found


def other_versions(names: Iterable[str]) -> list[str]:
    """Files of the same libraries under other versions, wherever they usually are."""
    paths = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]
    roots = [Path(path) for path in paths]
    roots += [found for pattern in _FOLDERS for found in Path("/").glob(pattern[1:])]
    found = set()
    for name in names:
        pattern = f"{name.partition('.so')[0]}.so.*"
        found |= {path.name for path in pip_files(pattern)}
        found |= {path.name for root in roots for path in root.glob(pattern)}
    return sorted(name for name in found if re.fullmatch(r"\D+\.so\.\d+", name))


def describe_missing(missing: Sequence[str], *, built_for: str, there: Sequence[str] = ()) -> str:
    """What to say of missing libraries, with the pip line.

    Args:
        missing: names of the files.
        built_for: see `check_driver`.
        there: other versions of them that were found.
    """
    major = built_for.partition(".")[0]
    kinds = {
        "TensorRT": [name for name in missing if name.startswith("libnv") and "nvrtc" not in name],
        "cuDNN": [name for name in missing if name.startswith("libcudnn")],
    }
    kinds["CUDA"] = [name for name in missing if name not in kinds["TensorRT"] and name not in kinds["cuDNN"]]
    libraries = "; ".join(f"{kind} ({', '.join(names)})" for kind, names in reversed(kinds.items()) if names)
    wheel = f"the installed onnxruntime-gpu{f', built for CUDA {built_for},' if built_for else ''}"
    lines = ["pip install 'qa-onnx[gpu]'"] if kinds["CUDA"] or kinds["cuDNN"] else []
    if kinds["TensorRT"]:
        version = kinds["TensorRT"][0].rpartition(".")[2]
        lines.append(f"pip install 'tensorrt-cu{major or 13}=={version}.*'")
    found = f"; there is {', '.join(there)}, which is another version" if there else ""
    return f"{wheel} does not find {libraries}{found}: {' and '.join(lines)}"


# What ONNX Runtime raises -> what it means. CUDA's error numbers: 2 out of memory, 3 initialization error, 35
# insufficient driver, 100 no device, 209 no kernel image.
_MEANINGS = (
    (r"(lib[\w.+-]+\.so[\d.]*): cannot open shared object file", None),
    (
        r"CUDA failure 35\b|driver version is insufficient",
        "the NVIDIA driver is too old for the CUDA that onnxruntime-gpu was built for: update the driver",
    ),
    (
        r"CUDA failure 100\b|no CUDA-capable device",
        "the NVIDIA driver has no GPU to use: see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES",
    ),
    (
        r"CUDA failure 209\b|no kernel image",
        "the installed onnxruntime-gpu was not built for this GPU: install another release of it",
    ),
    (r"CUDA failure 3\b|initialization error", _FORKED),
    (
        r"CUDA failure 2\b|out of memory|Failed to allocate memory|Available memory of \d+ is smaller",
        "the GPU has too little free memory: use smaller batches (Options.batch_tokens), or end what else uses it",
    ),
    (
        r"libcudnn|CUDNN_STATUS|cuDNN",
        "cuDNN is missing or of another version: pip install 'qa-onnx[gpu]'",
    ),
)


def explain(said: str, *, built_for: str = "") -> str | None:
    """What an exception's text of ONNX Runtime means and what to do; None: nothing that is known of GPUs."""
    for pattern, meaning in _MEANINGS:
        match = re.search(pattern, said)
        if match is None:
            continue
        if meaning is not None:
            return meaning
        if match[1] == DRIVER:
            return _NO_DRIVER.format(error=match[0])
        return describe_missing([match[1]], built_for=built_for)
    return None
