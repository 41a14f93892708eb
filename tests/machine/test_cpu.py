"""CPU: threads from affinity, cgroup quota and cores; memory; instruction sets from /proc/cpuinfo."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import pytest

from qa_onnx import InputError
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cpu


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with eight allowed CPUs, of which nothing else is known."""
    monkeypatch.setattr(cpu, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(cpu, "_TOPOLOGY", tmp_path / "cpu")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(cpu, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(cpu, "_affinity", lambda: frozenset(range(8)))
    monkeypatch.delenv("QA_ONNX_INSTRUCTION_SETS", raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("cpu_max", "threads"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("1000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("max 100000\n", 8),
        ("-1 100000", 8),
        ("max\n", 8),
        ("", 8),
        ("many few\n", 8),
        ("100000 0\n", 8),
    ],
)
def test_the_quota_of_either_version_is_rounded_up(computer: Path, cpu_max: str, threads: int) -> None:
    write(computer / "cgroup/cpu.max", cpu_max)
    assert cpu.default_threads() == threads
    write(computer / "cgroup/cpu.max", "700000 100000")  # the smaller of two counts
    quota, _, period = cpu_max.partition(" ")
    write(computer / "cgroup/cpu/cpu.cfs_quota_us", quota)
    write(computer / "cgroup/cpu/cpu.cfs_period_us", period)
    assert cpu.default_threads() == min(threads, 7)


def test_a_cpu_without_topology_is_a_core_of_its_own(computer: Path) -> None:
    for number in range(4):
        write(computer / f"cpu/cpu{number}/topology/thread_siblings_list", "0-3\n")
    assert cpu.default_threads() == 5


@pytest.mark.parametrize(("count", "threads"), [(6, 6), (None, 1)])
def test_without_affinity_the_cpu_count_is_used(
    computer: Path, monkeypatch: pytest.MonkeyPatch, count: int | None, threads: int
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(cpu, "_CGROUP", computer / "cgroup")
    monkeypatch.setattr(cpu, "_TOPOLOGY", computer / "cpu")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert cpu.default_threads() == threads


def test_the_hosts_environment_is_not_read(computer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_MAX_THREADS"):
        monkeypatch.setenv(name, "3")
    assert cpu.default_threads() == 8


@pytest.mark.parametrize(
    ("flags", "sets", "exact", "bf16"),
    [
        ("fpu avx2 avx512f avx512_vnni", ("avx2", "avx512f", "avx512_vnni"), True, False),
        ("avx_vnni avx2", ("avx2", "avx_vnni"), True, False),
        ("amx_int8 amx_bf16 avx512_bf16", ("amx_int8", "avx512_bf16", "amx_bf16"), True, True),
        ("avx512_bf16", ("avx512_bf16",), False, True),
        ("amx_bf16", ("amx_bf16",), False, True),
        ("fpu sse2 avx2 avx512f", ("avx2", "avx512f"), False, False),
        ("fpu avx512_vnni_like avx512_bf16_like", (), False, False),
        ("", (), False, False),
    ],
)
def test_instruction_sets(computer: Path, flags: str, sets: tuple[str, ...], exact: bool, bf16: bool) -> None:
    write(computer / "cpuinfo", f"processor\t: 0\nvmx flags\t: avx2\nflags\t\t: {flags}\nbugs\t\t: none\n")
    assert cpu.instruction_sets() == sets
    assert cpu.has_exact_int8() is exact
    assert cpu.has_bf16() is bf16


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ("avx2", ("avx2",)),
        (" amx_int8,avx2, avx512_bf16,", ("avx2", "amx_int8", "avx512_bf16")),
        ("", ()),
    ],
)
def test_tests_may_name_other_instruction_sets(
    computer: Path, monkeypatch: pytest.MonkeyPatch, text: str, sets: tuple[str, ...]
) -> None:
    write(computer / "cpuinfo", "flags\t\t: avx2 avx512f avx_vnni\n")
    monkeypatch.setenv("QA_ONNX_INSTRUCTION_SETS", text)
    assert cpu.instruction_sets() == sets


def test_unknown_instruction_sets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QA_ONNX_INSTRUCTION_SETS", "avx2,sse9,vnni")
    expected = "QA_ONNX_INSTRUCTION_SETS names sse9, vnni; it can name avx2, avx512f, .*: put commas .*, or unset"
    with pytest.raises(InputError, match=expected):
        cpu.instruction_sets()


@pytest.mark.parametrize("cpuinfo", [None, "processor : 0\nFeatures : fp asimd\n"])
def test_a_cpu_without_flags_has_no_instruction_sets(computer: Path, cpuinfo: str | None) -> None:
    if cpuinfo is not None:
        write(computer / "cpuinfo", cpuinfo)
    assert cpu.instruction_sets() == ()
    assert cpu.has_exact_int8() is False
    assert cpu.has_bf16() is False


@pytest.mark.parametrize(
    ("allowed", "pairs", "quota", "threads", "limit"),
    [
        (range(8), False, None, 8, "physical cores"),
        (range(8), True, None, 4, "physical cores"),
        ((0, 1), False, None, 2, "affinity"),
        ((0, 4), True, None, 1, "affinity"),
        ((0, 1, 2, 3), True, None, 4, "physical cores"),  # one hyper-thread of each core is all of its arithmetic
        (range(8), True, "250000 100000", 3, "cgroup quota"),
        (range(8), True, "400000 100000", 4, "physical cores"),
        ((0, 1), False, "100000 100000", 1, "cgroup quota"),
    ],
)
def test_the_limit_that_bounds_the_threads_is_named(
    computer: Path,
    monkeypatch: pytest.MonkeyPatch,
    allowed: tuple[int, ...],
    pairs: bool,
    quota: str | None,
    threads: int,
    limit: str,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(cpu, "_affinity", lambda: frozenset(allowed))
    for number in range(8):
        siblings = f"{number % 4},{number % 4 + 4}" if pairs else f"{number}"
        write(computer / f"cpu/cpu{number}/topology/thread_siblings_list", siblings)
    if quota is not None:
        write(computer / "cgroup/cpu.max", quota)
    cores = cpu.cores()
    assert (cores.logical, cores.physical, cores.allowed) == (8, 4 if pairs else 8, len(allowed))
    assert (cores.threads, cores.limit) == (threads, limit)


def test_the_quota_of_every_group_above_counts(computer: Path) -> None:
    write(computer / "own", "12:pids:/\n0::/system.slice/reader.service\n")
    write(computer / "cgroup/system.slice/cpu.max", "600000 100000")
    write(computer / "cgroup/system.slice/reader.service/cpu.max", "300000 100000")
    assert cpu.cores().quota == 3
    write(computer / "cgroup/system.slice/cpu.max", "150000 100000")
    assert cpu.cores().quota == 1.5


def test_a_group_of_version_1_is_found_by_its_controller(computer: Path) -> None:
    write(computer / "own", "9:name=systemd:/x\n4:cpu,cpuacct:/docker/abc\n1:memory:/other\n")
    write(computer / "cgroup/cpu/docker/abc/cpu.cfs_quota_us", "200000")
    write(computer / "cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000")
    assert cpu.cores().quota == 2


@pytest.mark.parametrize("own", ["0::/../../elsewhere\n", "0::\n", "nonsense\n", ""])
def test_a_path_that_leads_out_of_the_tree_is_not_followed(computer: Path, own: str) -> None:
    write(computer / "own", own)
    write(computer / "elsewhere/cpu.max", "100000 100000")
    write(computer / "cgroup/cpu.max", "700000 100000")
    assert cpu.cores().quota == 7


def test_memory_and_its_least_limit(computer: Path) -> None:
    write(computer / "meminfo", "MemTotal: plenty\n")
    assert cpu.memory() == cpu.Memory(total=None, available=None, limit=None)
    write(computer / "meminfo", "MemTotal:       25276063744 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n")
    assert cpu.memory() == cpu.Memory(total=25276063744 << 10, available=2 << 20, limit=None)
    write(computer / "own", "0::/a/b\n5:memory:/c\n")
    write(computer / "cgroup/memory.max", "max\n")
    write(computer / "cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")  # no limit, in version 1
    assert cpu.memory().limit is None
    write(computer / "cgroup/a/memory.max", "3000000\n")
    write(computer / "cgroup/a/b/memory.max", "4000000\n")
    assert cpu.memory().limit == 3_000_000
    write(computer / "cgroup/memory/c/memory.limit_in_bytes", "2000000\n")
    assert cpu.memory().limit == 2_000_000


def test_the_cpu_is_named_as_it_names_itself(computer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert cpu.cpu_model() == platform.machine() != ""
    write(computer / "cpuinfo", "model\t: 1\nmodel name\t: Some CPU @ 2:1 GHz\nmodel name\t: Other\n")
    assert cpu.cpu_model() == "Some CPU @ 2:1 GHz"


def test_the_load_is_that_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 2.5, 3.5), raising=False)
    assert cpu.load() == 1.5
    monkeypatch.delattr(os, "getloadavg")
    assert cpu.load() is None
