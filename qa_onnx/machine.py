"""What this machine offers: the cores that this process may use, and the instruction sets of its CPU.

Read on Linux; elsewhere the guess is what `os` knows, and no instruction set is claimed.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CPUINFO = Path("/proc/cpuinfo")
_TOPOLOGY = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")

# What matters to quantized graphs, under the names that Linux gives.
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16", "amx_bf16")


def default_threads() -> int:
    """Threads to run a graph with: the least of affinity, cgroup quota and physical cores; at least 1."""
    allowed = _affinity()
    return max(1, min(len(allowed), _physical_cores(allowed), _quota()))


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _physical_cores(allowed: frozenset[int]) -> int:
    """Cores behind the allowed logical CPUs: two hyper-threads of one core share its arithmetic units."""
    cores = set()
    for cpu in allowed:
        try:
            cores.add((_TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            cores.add(f"unknown {cpu}")
    return len(cores)


def _quota() -> int:
    """CPUs that the container's quota amounts to, rounded up; many when there is none."""
    quotas = [math.ceil(quota) for quota in (_quota_v2(), _quota_v1()) if quota is not None]
    return min(quotas, default=1 << 16)


def _quota_v2() -> float | None:
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1() -> float | None:
    try:
        quota = int((_CGROUP / "cpu/cpu.cfs_quota_us").read_text())
        period = int((_CGROUP / "cpu/cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def cpu_model() -> str:
    """The CPU's name, as /proc/cpuinfo gives it; empty where there is none."""
    return next(_cpuinfo("model name"), "")


def instruction_sets() -> tuple[str, ...]:
    """Those of AVX2, AVX-512, VNNI, AMX and bf16 that the CPU has, as /proc/cpuinfo names them."""
    flags = set(next(_cpuinfo("flags"), "").split())
    return tuple(name for name in _INSTRUCTION_SETS if name in flags)


def _cpuinfo(name: str) -> Iterator[str]:
    """The values of a field, one for each logical CPU."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        field, _, value = line.partition(":")
        if field.strip() == name:
            yield value.strip()


def has_exact_int8() -> bool:
    """Whether this CPU sums products of unsigned and signed bytes without saturating: it takes VNNI or AMX."""
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(instruction_sets())
