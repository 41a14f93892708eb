"""The record of the machine that a benchmark ran on, and of other load on it.

Complete on Linux; elsewhere unknown entries are None, and no noise is reported.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.machine import cpu, nvidia
from qa_onnx.machine.packages import WHEELS, version

if TYPE_CHECKING:
    from collections.abc import Iterable

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_STAT = Path("/proc/stat")
_PACKAGES = ("qa-onnx", "numpy", "tokenizers", *WHEELS, "openvino", "torch", "transformers")

# Above these shares of the cores' time a run reports that it was disturbed.
_OTHERS = 0.05  # used by other programs
_STOLEN = 0.02  # given to other machines by the hypervisor
_LISTENS = 1.0  # seconds before the run, to measure the load of other programs


def record(threads: int, cpus: Iterable[int]) -> dict[str, Any]:
    """Return facts about the machine, the installed packages, and the threads and CPUs of each contender."""
    gpu = nvidia.survey()
    memory = cpu.memory()
    return {
        "cpu": cpu.cpu_model(),
        "instruction_sets": cpu.instruction_sets(),
        "cores": asdict(cpu.cores()),
        "threads": threads,
        "cpus": sorted(cpus),
        "governor": _GOVERNOR.read_text(encoding="ascii").strip() if _GOVERNOR.is_file() else None,
        "memory_bytes": memory.limit or memory.total,
        "gpu": gpu.gpus[0].name if gpu.gpus else None,
        "driver": gpu.driver,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: number for name in _PACKAGES if (number := version(name)) is not None},
    }


class Noise:
    """Measures the load that is not the benchmark's, from its construction on, which takes a second."""

    def __init__(self) -> None:
        self._begin()
        time.sleep(_LISTENS)
        self._busy_before, _ = self._shares([])
        self._begin()

    def _begin(self) -> None:
        self._began, self._before, self._own = time.perf_counter(), _jiffies(), _own_seconds()

    def _shares(self, pids: Iterable[int]) -> tuple[float, float]:
        """Return the shares of CPU time since `_begin` that others used, and that was stolen; 0 if unknown."""
        now = _jiffies()
        if self._before is None or now is None:
            return 0.0, 0.0
        tick = os.sysconf("SC_CLK_TCK")
        available = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        busy, stolen = ((after - before) / tick for after, before in zip(now, self._before, strict=True))
        own = _own_seconds() - self._own + sum(map(cpu_seconds, pids))
        return (busy - own) / available, stolen / available

    def report(self, pids: Iterable[int]) -> list[str]:
        """Return what has disturbed the run so far, in words.

        Args:
            pids: processes of the contenders, still alive.
        """
        notes = []
        if self._busy_before > 2 * _OTHERS:
            notes.append(f"before the run other programs used {100 * self._busy_before:.0f} % of the cores' time")
        others, stolen = self._shares(pids)
        if others > _OTHERS:
            notes.append(f"other programs used {100 * others:.0f} % of the cores' time")
        if stolen > _STOLEN:
            notes.append(f"the hypervisor took {100 * stolen:.0f} % of the cores' time")
        return notes


def _jiffies() -> tuple[int, int] | None:
    """Return the busy and the stolen ticks of all CPUs since the start of the machine; None if unknown."""
    try:
        fields = _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[1:9])
    except (OSError, ValueError):
        return None
    return user + nice + system + irq + softirq, steal


def _own_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a living process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
