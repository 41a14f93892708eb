"""What this machine offers: the cores and the memory that this process may use, its CPU and instruction sets.

Read on Linux; elsewhere the guess is what `os` knows, and no instruction set is claimed.
"""

from __future__ import annotations

import math
import os
import platform
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

# What matters to quantized graphs, under the names that Linux gives.
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16", "amx_bf16")
_SETS_VARIABLE = "QA_ONNX_INSTRUCTION_SETS"

BF16_SETS = ("avx512_bf16", "amx_bf16")  # one of them is enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """What bounds the threads of a run.

    Attributes:
        logical: CPUs that the machine has.
        physical: cores that it has: two hyper-threads of one share its arithmetic units.
        allowed: logical CPUs that this process may run on.
        usable: physical cores behind those.
        quota: CPUs' worth of time that the control groups grant; None: no limit.
    """

    logical: int
    physical: int
    allowed: int
    usable: int
    quota: float | None

    @property
    def threads(self) -> int:
        """Threads to run a graph with: the least of all, the quota rounded up; at least 1."""
        granted = self.allowed if self.quota is None else math.ceil(self.quota)
        return max(1, min(self.allowed, self.usable, granted))

    @property
    def limit(self) -> Literal["cgroup quota", "affinity", "physical cores"]:
        """Which of the three bounds them."""
        if self.quota is not None and math.ceil(self.quota) < self.usable:
            return "cgroup quota"
        return "affinity" if self.usable < self.physical else "physical cores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory in bytes; None: not known.

    Attributes:
        total: what the machine has.
        available: what is left without swapping.
        limit: what the control groups grant; None: no limit.
    """

    total: int | None
    available: int | None
    limit: int | None


def default_threads() -> int:
    """Threads to run a graph with: the least of affinity, cgroup quota and physical cores; at least 1."""
    return cores().threads


def cores() -> Cores:
    """The cores of the machine, and how many of them this process may use."""
    logical, allowed = os.cpu_count() or 1, _affinity()
    return Cores(
        logical=logical,
        physical=_physical_cores(range(logical)),
        allowed=len(allowed),
        usable=_physical_cores(allowed),
        quota=_quota(),
    )


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _physical_cores(cpus: Iterable[int]) -> int:
    """Cores behind some logical CPUs."""
    return len({_core(cpu) for cpu in cpus})


def _core(cpu: int) -> str:
    """A name of the core that a logical CPU belongs to."""
    try:
        return (_TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return f"unknown {cpu}"


def core_cpus() -> list[int]:
    """A logical CPU of each core that this process may use, in their order."""
    by_core: dict[str, int] = {}
    for cpu in sorted(_affinity()):
        by_core.setdefault(_core(cpu), cpu)
    return list(by_core.values())


def _quota() -> float | None:
    quotas = [_quota_v2(folder) for folder in _groups("")]
    quotas += [_quota_v1(folder) for folder in _groups("cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(controller: str) -> list[Path]:
    """Folders of the control groups that this process is in, up to the root; "" is that of version 2.

    A group grants no more than those above it. In a container the root that is seen is the container's own.
    """
    root = _CGROUP / controller
    folders = {root: None}
    for line in _lines(_OWN_CGROUPS):
        _, names, path = [*line.split(":", 2), "", ""][:3]
        parts = PurePosixPath(path).parts[1:]
        if controller in names.split(",") and ".." not in parts:
            folders |= {root.joinpath(*parts[: depth + 1]): None for depth in range(len(parts))}
    return list(folders)


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def memory() -> Memory:
    """The memory of the machine, and the limit of the control groups that this process is in."""
    files = [folder / "memory.max" for folder in _groups("")]
    files += [folder / "memory.limit_in_bytes" for folder in _groups("memory")]
    limits = [int(text) for file in files for text in _lines(file)[:1] if text.strip().isdigit()]
    known = dict(line.split(":", 1) for line in _lines(_MEMINFO) if ":" in line)
    return Memory(
        total=_kibibytes(known.get("MemTotal", "")),
        available=_kibibytes(known.get("MemAvailable", "")),
        limit=min((limit for limit in limits if limit < _NO_LIMIT), default=None),
    )


def _kibibytes(text: str) -> int | None:
    number = text.removesuffix(" kB").strip()
    return int(number) * 1024 if number.isdigit() else None


def _lines(path: Path) -> list[str]:
    """Lines of a file of the kernel's; none where it is not there."""
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def load() -> float | None:
    """Processes that wanted a CPU over the last minute, on average; None: not known."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


def cpu_model() -> str:
    """The CPU's name as it gives it itself, or that of its architecture."""
    named = (line.partition(":")[2].strip() for line in _lines(_CPUINFO) if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Those of AVX2, AVX-512, VNNI, AMX and bf16 that the CPU has, as /proc/cpuinfo names them.

    For tests, the environment variable QA_ONNX_INSTRUCTION_SETS names others, with commas between them, or none
    where it is empty. It changes what qa-onnx believes of the CPU, not what the CPU or any engine does.

    Raises:
        InputError: the variable names what is not known here.
    """
    text = os.environ.get(_SETS_VARIABLE)
    if text is not None:
        return _parse_sets(text)
    flags = next((set(line.split()[2:]) for line in _lines(_CPUINFO) if line.startswith("flags")), set())
    return tuple(name for name in _INSTRUCTION_SETS if name in flags)


def _parse_sets(text: str) -> tuple[str, ...]:
    """The instruction sets of a list with commas, in the order that this module has."""
    names = {name.strip() for name in text.split(",")} - {""}
    if unknown := sorted(names.difference(_INSTRUCTION_SETS)):
        raise InputError(
            f"the environment variable {_SETS_VARIABLE} names {', '.join(unknown)}; it can name "
            f"{', '.join(_INSTRUCTION_SETS)}, with commas between them; without it the CPU itself is read"
        )
    return tuple(name for name in _INSTRUCTION_SETS if name in names)


def has_exact_int8() -> bool:
    """Whether this CPU sums products of unsigned and signed bytes without saturating."""
    return exact_int8(instruction_sets())


def exact_int8(sets: Iterable[str]) -> bool:
    """Whether a CPU with these instruction sets does: it takes VNNI or AMX."""
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(sets)


def has_bf16() -> bool:
    """Whether this CPU multiplies numbers in bfloat16 by instructions of its own: others emulate it, slowly."""
    return not set(BF16_SETS).isdisjoint(instruction_sets())
