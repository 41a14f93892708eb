"""`qa-onnx doctor`: on this machine as it is, and on machines that are broken as a test can break them."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from qa_onnx.cli import doctor as command
from qa_onnx.cli import main
from qa_onnx.doctor import findings as examination
from qa_onnx.doctor import trial
from qa_onnx.engines.names import BACKENDS
from qa_onnx.machine import cpu
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx.doctor.trial import Job, Trial

pytestmark = pytest.mark.cpu

ROOT = Path(__file__).parents[2]
no_gpu = pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="there is an NVIDIA GPU")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test looks at the times, and no variable of this machine disturbs."""
    monkeypatch.setattr(examination, "_SECONDS", 0.01)
    for name in examination.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def results() -> Callable[[Job], Trial]:
    """Runs a trial, but each only once."""
    return functools.cache(trial.run)


@pytest.fixture
def tried(results: Callable[[Job], Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that do not change what a trial finds: they share real results, since each takes a process."""
    monkeypatch.setattr(trial, "run", results)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that comes before all others."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def doctor(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["doctor", *map(str, arguments)])
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def report(*arguments: object) -> tuple[int, dict[str, Any]]:
    result = doctor("--json", *arguments)
    content: dict[str, Any] = json.loads(result.stdout)
    assert content["ok"] is (result.exit_code == 0)
    assert content["ok"] is not bool(content["problems"])
    assert all(problem["what"] and problem["remedy"] for problem in content["problems"] + content["notes"])
    return result.exit_code, content


@pytest.mark.usefixtures("tried")
def test_a_sound_machine() -> None:
    result = doctor("-b", TINY, "-v")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 100 + len(str(TINY))
    sections = ("ok: ", "precision ", "versions", "cpu", "gpu", "bundle", "engines")
    assert re.findall(rf"^(?:{'|'.join(sections)})", result.stdout, re.MULTILINE) == list(sections)
    for said in (
        str(TINY),
        cpu.cpu_model(),
        f"{cpu.default_threads()} for a run",
        "onnxruntime/cpu   runs int8, fp32",
        "2 Attention",
        "5, each with the right size and hash",
        f"numpy {metadata.version('numpy')}",
    ):
        assert said in result.stdout


@pytest.mark.usefixtures("tried")
def test_the_verdict_comes_first_and_what_each_figure_means_with_it() -> None:
    result = doctor("-b", TINY)
    first = result.stdout.splitlines()[0]
    found = r"int8 in onnxruntime/cpu, \d+ of 12 test questions right"
    assert re.fullmatch(f"ok: question answering works here: {found}", first)
    assert re.search(r"^int8 .* yes +at most \S+ \(limit 1\)$", result.stdout, re.MULTILINE)
    assert "SHA-256" not in result.stdout
    assert doctor("-b", TINY, "--quiet").stdout == f"{first}\n"


@pytest.mark.usefixtures("tried")
def test_quiet_leaves_the_problems_and_their_remedies() -> None:
    shown = doctor("-b", "no-such-bundle", "-q").stdout
    assert shown.startswith("1 problem: ")
    assert "remedy: " in shown
    assert "questions/s" not in shown


@pytest.mark.usefixtures("tried")
def test_json_has_the_keys_that_are_documented() -> None:
    _, content = report("-b", TINY)
    documented = command.__doc__ or ""
    assert list(content) == re.findall(r"^    (\w+)  ", documented, re.MULTILINE)
    for name, inner in (
        ("asked", content["asked"]),
        ("cpu", content["cpu"]),
        ("memory", content["memory"]),
        ("gpu", content["gpu"]),
        ("bundle", content["bundle"]),
        ("bundle", content["bundle"]["precisions"]["int8"]),
        ("engines", content["engines"]["onnxruntime/cpu"]),
        ("trials", content["trials"][0]),
        ("trials", content["trials"][0]["golden"]),
    ):
        start = documented.index(f"\n    {name} ") + 1
        following = re.search(r"\n    \w", documented[start:])
        words = set(re.findall(r'"(\w+)"', documented[start : start + following.start() if following else None]))
        assert inner.keys() <= words, name


@pytest.mark.usefixtures("tried")
def test_json_says_what_was_found() -> None:
    code, content = report("-b", TINY)
    assert code == 0
    assert set(content["engines"]) == set(map(str, BACKENDS))
    assert content["engines"]["onnxruntime/cpu"] == {"starts": True, "precision": "int8", "error": None}
    assert content["cpu"]["threads"] == cpu.default_threads()
    assert content["cpu"]["instruction_sets"] == list(cpu.instruction_sets())
    assert content["bundle"]["files"] == len(list(TINY.iterdir())) - 1
    for one in content["trials"][:2]:
        assert one["golden"]["passed"] is True
        assert one["questions_per_second"] > 0


@pytest.mark.usefixtures("tried")
def test_the_default_bundle_is_looked_at_when_none_is_named() -> None:
    code, content = report()
    assert code == 0
    assert content["bundle"]["name"] == "minilm-squad"
    assert content["bundle"]["precisions"]["int8"]["percent_of_fp32"] > 99
    assert content["trials"][0]["right"] >= content["trials"][0]["questions"] - 1
    assert "% of fp32, on 5,665 questions of squad-dev-a.json.gz" in " ".join(doctor("-v").stdout.split())


@no_gpu
@pytest.mark.usefixtures("tried")
def test_plain_doctor_says_that_there_is_no_gpu_and_how_to_ask_for_one() -> None:
    assert "no NVIDIA driver was found" in doctor("-b", TINY).stdout
    assert "--device cuda" in doctor("-b", TINY).stdout
    assert "so the CPU answers" not in doctor("-b", TINY, "--device", "cuda").stdout


@pytest.mark.usefixtures("tried")
def test_a_damaged_bundle_is_named(tiny_copy: Path) -> None:
    graph = next(tiny_copy.glob("model-*.onnx"))
    content = bytearray(graph.read_bytes())
    content[-100] ^= 1
    graph.write_bytes(content)
    result = doctor("-b", tiny_copy, "-v")
    assert result.exit_code == 1
    assert result.stdout.startswith("1 problem: question answering does not work here")
    assert graph.name in result.stdout
    assert "onnxruntime/cpu   starts; no bundle to run" in result.stdout


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-b", "no-such-bundle"], "does not exist"),
        (["-b", TINY, "--precision", "fp16"], "not fp16"),
        (["-b", TINY, "--engine", "openvino", "--device", "cuda"], "does not run on device 'cuda'"),
    ],
)
def test_what_is_asked_for_and_cannot_be_is_a_problem(arguments: list[object], problem: str) -> None:
    code, content = report(*arguments)
    assert code == 1
    assert problem in content["problems"][0]["what"]
    assert content["engines"]["onnxruntime/cpu"]["starts"] is True
    assert doctor(*arguments).exit_code == 1


@pytest.mark.usefixtures("tried")
@no_gpu
def test_a_gpu_that_is_asked_for_and_not_there() -> None:
    code, content = report("-b", TINY, "--device", "cuda")
    assert code == 1
    assert content["asked"]["backends"] == ["onnxruntime/cpu", "onnxruntime/cuda"]
    assert "onnxruntime/cuda does not start" in content["problems"][0]["what"]
    assert "no NVIDIA driver was found" in content["problems"][0]["what"]
    assert "install the driver" in content["problems"][0]["remedy"]
    shown = doctor("-b", TINY, "--device", "cuda")
    assert shown.exit_code == 1
    assert "remedy: install the driver" in shown.stdout
    assert doctor("-b", TINY).exit_code == 0


def test_an_engine_that_is_asked_for_and_not_installed(site: Path) -> None:
    (site / "openvino.py").write_text("raise ImportError('not here')")
    code, content = report("-b", TINY, "--engine", "openvino")
    assert code == 1
    assert content["problems"][0]["remedy"] == "pip install 'qa-onnx[openvino]'"
    assert content["engines"]["onnxruntime/cpu"]["starts"] is True


def test_both_wheels(site: Path) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = site / f"{name}-1.99.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.99.0\n"
        )
    code, content = report("-b", TINY)
    assert code == 1
    assert content["runtimes"] == {"onnxruntime": "1.99.0", "onnxruntime-gpu": "1.99.0"}
    assert "installed together" in content["problems"][0]["what"]
    assert len(content["problems"]) == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('libonnxruntime.so.1: file too short')", "file too short"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
)
def test_a_broken_runtime_is_reported(site: Path, code: str, said: str) -> None:
    (site / "onnxruntime.py").write_text(code)
    result = doctor("-b", TINY, "-v")
    assert result.exit_code == 1
    assert said in " ".join(result.stdout.split())
    assert result.stdout.startswith("1 problem: ")
    assert "each with the right size and hash" in result.stdout
    assert "remedy: pip " in result.stdout


def test_a_missing_runtime_is_reported_by_the_command_itself(tmp_path: Path) -> None:
    """In a Python that finds all packages but the engines."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("onnxruntime", "openvino")):
            (tmp_path / entry.name).symlink_to(entry)
    code = (
        "import sys; sys.path += sys.argv[1:3]; from qa_onnx.cli import main; "
        "main(['doctor', '-v', '-b', sys.argv[3]])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path), str(ROOT), str(TINY)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    said = " ".join(done.stdout.split())
    assert "runtimes none" in said
    assert "no ONNX Runtime is installed" in said
    assert "remedy: pip install 'qa-onnx[cpu]'" in said
    assert said.startswith("1 problem: ")


@pytest.mark.usefixtures("tried")
def test_the_quota_of_a_container_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{3 << 30}\n")
    monkeypatch.setattr(cpu, "_CGROUP", tmp_path)
    monkeypatch.setattr(cpu, "_affinity", lambda: frozenset(range(4)))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(cpu, "_TOPOLOGY", tmp_path)
    shown = " ".join(doctor("-b", TINY, "-v").stdout.split())
    assert "a cgroup quota of 0.5" in shown
    assert "1 for a run: bounded by the cgroup quota" in shown
    assert "a cgroup limit of 3.0 GiB" in shown
    _, content = report("-b", TINY)
    assert (content["cpu"]["quota"], content["memory"]["limit"]) == (0.5, 3 << 30)


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("avx2 avx512f avx512_vnni avx512_bf16", "AVX2, AVX-512, VNNI, bf16; no AMX. int8 runs at full speed"),
        ("avx2 avx512f", "AVX2, AVX-512; no VNNI, AMX, bf16. Without VNNI, int8 gains less"),
        ("avx2 amx_int8 amx_bf16 avx512f avx_vnni avx512_bf16", "AVX2, AVX-512, VNNI, AMX, bf16. int8 runs"),
        ("", "not known"),
    ],
)
def test_what_the_instruction_sets_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, said: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("QA_ONNX_INSTRUCTION_SETS", raising=False)
    assert said in " ".join(doctor("-b", TINY, "-v").stdout.split())


@pytest.mark.usefixtures("tried")
def test_a_variable_without_effect_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    result = doctor("-b", TINY, "-v")
    assert result.exit_code == 0
    assert "environment     OMP_NUM_THREADS=77" in result.stdout
    assert "OMP_NUM_THREADS=77 has no effect here" in result.stdout
    assert "remedy: --threads 77" in result.stdout


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize(("load", "busy"), [(0.5, False), (3.0, True), (None, False)])
def test_a_busy_machine_is_named_beside_the_speeds(
    monkeypatch: pytest.MonkeyPatch, load: float | None, busy: bool
) -> None:
    monkeypatch.setattr(cpu, "load", lambda: load)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    shown = " ".join(doctor("-b", TINY).stdout.split())
    assert ("the machine was busy (load 3.0 on " in shown) is busy


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from qa_onnx.cli import tables

    monkeypatch.setattr(tables, "console", lambda **_: Console(markup=False, width=width))
    lines = doctor("-b", TINY).stdout.splitlines()
    assert max(len(line) for line in lines) <= width
    assert any(line.startswith("int8") for line in lines)


@pytest.mark.parametrize("option", ["--engine", "--device", "--precision"])
def test_wrong_usage_is_not_a_failure_of_the_machine(option: str) -> None:
    assert doctor(option, "abacus").exit_code == 2
