"""What must be known of a machine to believe a figure that was measured on it, and whether it was quiet.

Read on Linux; elsewhere what is not known is None, and nothing is said of noise.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.machine import cpu, nvidia
from qa_onnx.machine.packages import RUNTIMES, version

if TYPE_CHECKING:
    from collections.abc import Iterable

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_STAT = Path("/proc/stat")
_PACKAGES = ("qa-onnx", "numpy", "tokenizers", *RUNTIMES, "openvino", "torch", "transformers")

# Above these a run says that it was disturbed.
_OTHERS = 0.05  # share of the cores' time that other programs used
_STOLEN = 0.02  # share that the hypervisor gave to other machines
_LISTENS = 1.0  # seconds before anything of the run works, for what others do


def record(threads: int, cpus: Iterable[int]) -> dict[str, Any]:
    """The machine, what is installed, and how many threads each contender had on which CPUs."""
    found = nvidia.survey()
    memory = cpu.memory()
    return {
        "cpu": cpu.cpu_model(),
        "instruction_sets": list(cpu.instruction_sets()),
        "cores": asdict(cpu.cores()),
        "threads": threads,
        "cpus": sorted(cpus),
        "governor": _governor(),
        "memory_bytes": memory.limit or memory.total,
        "gpu": found.gpus[0].name if found.gpus else None,
        "driver": found.driver,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: number for name in _PACKAGES if (number := version(name)) is not None},
    }


def _governor() -> str | None:
    try:
        return _GOVERNOR.read_text(encoding="ascii").strip()
    except OSError:
        return None


class Noise:
    """Watches from its making on what the machine does besides what is measured; listens for a second first."""

    def __init__(self) -> None:
        before, own = _jiffies(), _own_seconds()
        time.sleep(_LISTENS)
        now = _jiffies()
        self._busy_before = 0.0
        if before is not None and now is not None:
            busy = (now[0] - before[0]) / os.sysconf("SC_CLK_TCK") - (_own_seconds() - own)
            self._busy_before = busy / (_LISTENS * (os.cpu_count() or 1))
        self._began = time.perf_counter()
        self._before = _jiffies()
        self._own = _own_seconds()

    def heard(self, pids: Iterable[int]) -> list[str]:
        """What disturbed the run so far, in words.

        Args:
            pids: the processes that are measured, while they live.
        """
        notes = []
        if self._busy_before > 2 * _OTHERS:
            notes.append(f"before the run other programs used {100 * self._busy_before:.0f} % of the cores' time")
        now = _jiffies()
        if self._before is None or now is None:
            return notes
        tick = os.sysconf("SC_CLK_TCK")
        available = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        busy, stolen = ((after - before) / tick for after, before in zip(now, self._before, strict=True))
        own = _own_seconds() - self._own + sum(_cpu_seconds(pid) for pid in pids)
        if busy - own > _OTHERS * available:
            notes.append(f"other programs used {100 * (busy - own) / available:.0f} % of the cores' time")
        if stolen > _STOLEN * available:
            notes.append(f"the hypervisor took {100 * stolen / available:.0f} % of the cores' time")
        return notes


def _jiffies() -> tuple[int, int] | None:
    """Ticks of all CPUs that were busy, and that were stolen, since the start of the machine."""
    try:
        fields = _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[1:9])
    except (OSError, ValueError):
        return None
    return user + nice + system + irq + softirq, steal


def _own_seconds() -> float:
    """Processor time of this process and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _cpu_seconds(pid: int) -> float:
    """Processor time of a living process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
