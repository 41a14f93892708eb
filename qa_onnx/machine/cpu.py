"""The CPU and memory of this machine: what this process may use of them, and the CPU's instruction sets.

All of it is known on Linux only. Elsewhere the cores are those that `os` counts; no instruction set is assumed.
"""

from __future__ import annotations

import math
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_TOPOLOGY = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")

_NO_LIMIT = 1 << 60  # bytes; cgroup v1 writes "no limit" as a number near 2 ** 63

# Those that matter to quantized graphs, under their names in Linux.
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16", "amx_bf16")
_SETS_VARIABLE = "QA_ONNX_INSTRUCTION_SETS"

BF16_SETS = ("avx512_bf16", "amx_bf16")  # one of them is enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """The cores of the machine, and how many of them this process may use.

    Attributes:
        logical: CPUs of the machine, hyper-threads included.
        physical: cores of the machine; the hyper-threads of a core share its arithmetic units.
        allowed: logical CPUs that this process may run on.
        usable: physical cores of those.
        quota: CPU time that the control groups grant, in CPUs; None: no limit.
    """

    logical: int
    physical: int
    allowed: int
    usable: int
    quota: float | None

    @property
    def threads(self) -> int:
        """Threads to run a graph with: the smallest of the bounds, the quota rounded up; at least 1."""
        granted = self.allowed if self.quota is None else math.ceil(self.quota)
        return max(1, min(self.allowed, self.usable, granted))

    @property
    def limit(self) -> Literal["cgroup quota", "affinity", "physical cores"]:
        """The bound that decides the number of threads."""
        if self.quota is not None and math.ceil(self.quota) < self.usable:
            return "cgroup quota"
        return "affinity" if self.usable < self.physical else "physical cores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory in bytes; None: unknown.

    Attributes:
        total: of the machine.
        available: without swapping.
        limit: of the control groups; None: no limit.
    """

    total: int | None
    available: int | None
    limit: int | None


def default_threads() -> int:
    """Return the threads to run a graph with: the least of affinity, quota and physical cores; at least 1."""
    return cores().threads


def cores() -> Cores:
    """Return the cores of the machine, and how many of them this process may use."""
    logical, allowed = os.cpu_count() or 1, _affinity()
    physical, usable = (len(set(map(_core, cpus))) for cpus in (range(logical), allowed))
    return Cores(logical=logical, physical=physical, allowed=len(allowed), usable=usable, quota=_quota())


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _core(cpu: int) -> str:
    """Return a name of the core that a logical CPU belongs to."""
    return _read(_TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").strip() or f"unknown {cpu}"


def core_cpus() -> list[int]:
    """Return one logical CPU of each core that this process may use, in order."""
    by_core: dict[str, int] = {}
    for cpu in sorted(_affinity()):
        by_core.setdefault(_core(cpu), cpu)
    return list(by_core.values())


def _quota() -> float | None:
    """Return the smallest quota of the control groups that this process is in, in CPUs; None: no limit."""
    texts = [_read(folder / "cpu.max") for folder in _groups("")]
    texts += [_read(one / "cpu.cfs_quota_us") + " " + _read(one / "cpu.cfs_period_us") for one in _groups("cpu")]
    return min((quota for text in texts if (quota := _parse_quota(text)) is not None), default=None)


def _parse_quota(text: str) -> float | None:
    """Return 1.5 of "150000 100000", the microseconds of CPU time in each period of so many."""
    try:
        quota, period = map(int, text.split())
        return quota / period if quota > 0 else None
    except (ValueError, ZeroDivisionError):  # "max", and -1 in version 1, mean no limit
        return None


def _groups(controller: str) -> list[Path]:
    """Return the folders of the control groups that this process is in, up to the root.

    A group grants no more than the groups above it. A container sees its own group as the root.

    Args:
        controller: of cgroup version 1, such as "cpu"; "" for version 2.
    """
    root = _CGROUP / controller
    folders = {root: None}
    for line in _read(_OWN_CGROUPS).splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        parts = PurePosixPath(path).parts[1:]
        if controller in names.split(",") and ".." not in parts:
            folders |= {root.joinpath(*parts[: depth + 1]): None for depth in range(len(parts))}
    return list(folders)


def memory() -> Memory:
    """Return the memory of the machine, and the limit of the control groups that this process is in."""
    files = [folder / "memory.max" for folder in _groups("")]
    files += [folder / "memory.limit_in_bytes" for folder in _groups("memory")]
    limits = [int(text) for file in files if (text := _read(file).strip()).isdigit()]
    lines = dict(line.split(":", 1) for line in _read(_MEMINFO).splitlines() if ":" in line)
    return Memory(
        total=_kibibytes(lines.get("MemTotal", "")),
        available=_kibibytes(lines.get("MemAvailable", "")),
        limit=min((limit for limit in limits if limit < _NO_LIMIT), default=None),
    )


def _kibibytes(text: str) -> int | None:
    number = text.removesuffix(" kB").strip()
    return int(number) * 1024 if number.isdigit() else None


def _read(path: Path) -> str:
    """Return the content of a file of the kernel; "" if there is no such file."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def load() -> float | None:
    """Return how many processes wanted a CPU over the last minute, on average; None: unknown."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


def cpu_model() -> str:
    """Return the CPU's own name, or that of its architecture."""
    match = re.search(r"^model name[ \t]*:[ \t]*(\S.*)", _read(_CPUINFO), re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Return those of AVX2, AVX-512, VNNI, AMX and bf16 that the CPU has, as /proc/cpuinfo names them.

    For tests, the environment variable QA_ONNX_INSTRUCTION_SETS replaces them: names with commas between them, or
    nothing. It changes what qa-onnx assumes of the CPU, not what the CPU or any engine does.

    Raises:
        InputError: the variable has an unknown name.
    """
    text = os.environ.get(_SETS_VARIABLE)
    if text is None:
        match = re.search(r"^flags[ \t]*:(.*)", _read(_CPUINFO), re.MULTILINE)
        flags = match[1].split() if match else []
        return tuple(name for name in _INSTRUCTION_SETS if name in flags)
    names = {name.strip() for name in text.split(",")} - {""}
    if unknown := sorted(names.difference(_INSTRUCTION_SETS)):
        raise InputError(
            f"the environment variable {_SETS_VARIABLE} names {', '.join(unknown)}; it can name "
            f"{', '.join(_INSTRUCTION_SETS)}",
            remedy="put commas between the names, or unset it to read the CPU itself",
        )
    return tuple(name for name in _INSTRUCTION_SETS if name in names)


def has_exact_int8() -> bool:
    """Return whether this CPU sums products of unsigned and signed bytes without saturating."""
    return exact_int8(instruction_sets())


def exact_int8(sets: Iterable[str]) -> bool:
    """Return whether a CPU with these instruction sets sums such products exactly: it needs VNNI or AMX."""
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(sets)


def has_bf16() -> bool:
    """Return whether this CPU has instructions to multiply in bfloat16; others emulate it, slowly."""
    return not set(BF16_SETS).isdisjoint(instruction_sets())
