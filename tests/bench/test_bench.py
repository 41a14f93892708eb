"""The scenarios with contenders whose speed and answers are known, and the command on the tiny bundle."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from qa_onnx import Bundle, BundleError, EngineError
from qa_onnx.bench import compare as bench_compare
from qa_onnx.bench import protocol
from qa_onnx.bench import record as bench_record
from qa_onnx.bench.compare import compare, cpus_for, falls_behind
from qa_onnx.bench.contenders import Contender, install_bytes, list_contenders
from qa_onnx.bench.parts import gpu_megabytes
from qa_onnx.bench.record import Noise, record
from qa_onnx.bench.runners import Plan
from qa_onnx.cli import main
from qa_onnx.data.squad import DataSet, Gold
from qa_onnx.machine import cpu
from tests.bench.test_protocol import CLOCK
from tests.bench.test_results import RUN
from tests.conftest import TINY
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.bench.results import BenchResults

pytestmark = pytest.mark.slow

# Answers the first word of a context; takes so many milliseconds a question, and as many a call, of its own clock.
SLOW = f"""
import sys
sys.path.append(sys.argv[1])
{CLOCK}
from protocol import own_stdout, serve
out = own_stdout()
def answer(pairs, **options):
    clock.sleep(float(sys.argv[2]) * (1 + len(pairs)) / 1000)
    return [context.split()[int(sys.argv[3])] for _, context in pairs]
serve(out, answer, facts={{"threads": sys.argv[4]}})
"""
GOLDS = tuple(
    Gold(str(number), "Who came?", f"Ida{number} came before Bo{number}.", (f"Ida{number}",), (0,))
    for number in range(40)
)
DATA = DataSet("people.json", "0" * 64, GOLDS)
PLAN = Plan(golds=GOLDS, threads=1, seconds=4.0, quick=True)


ONLY_OFFLINE = replace(PLAN, scenarios=("offline",), seconds=1, most=24)


def slow(name: str, milliseconds: float, word: int = 0, **changes: Any) -> Contender:
    folder = str(Path(protocol.__file__).parent)

    def command(threads: int) -> Sequence[str]:
        return [sys.executable, "-c", SLOW, folder, str(milliseconds), str(word), str(threads)]

    return replace(Contender(name=name, command=command, own=False), **changes)


def saying(name: str, *lines: dict[str, Any]) -> Contender:
    """A contender that says these lines, one for each request after the first."""
    code = "import sys\nfor line in sys.argv[1:]:\n    print(line, flush=True)\n    sys.stdin.readline()"
    return Contender(name=name, command=lambda _: [sys.executable, "-c", code, *map(json.dumps, lines)])


def measure(contenders: list[Contender], plan: Plan, **rest: Any) -> BenchResults:
    return compare(contenders, DATA, plan, title="t", command="c", **rest)


def test_speed_accuracy_latency_and_server_are_those_of_the_contenders() -> None:
    shown: list[tuple[str, float]] = []
    run = measure(
        [slow("base", 8), slow("fast", 2, model_bytes=5_000_000), slow("wrong", 2, word=1)],
        replace(PLAN, p99_ms=5000.0),
        show=lambda text, share: shown.append((text, share)),
    )
    base, fast, wrong = run.outcomes
    assert base.ratio
    assert base.ratio.rounds == (1.0,) * run.rounds
    assert fast.ratio
    assert fast.ratio.median == pytest.approx(4)
    assert (base.em, fast.f1, wrong.em, wrong.f1) == (100, 100, 0, 0)
    assert (fast.same_answers, wrong.same_answers) == (1, 0)
    assert base.latency
    assert base.latency.p50 == pytest.approx(16)  # one question a call: the fixed time as well
    assert base.latency.n == run.data["asked"]
    assert base.server
    assert fast.server
    assert fast.server.rate > base.server.rate > 0
    assert all(p99 <= base.server.limit_ms for rate, p99, _ in base.server.steps if rate <= base.server.rate)
    assert fast.facts == {"threads": "1"}
    assert fast.model_mb == 5
    assert fast.cold_start
    assert fast.peak_mb
    assert fast.stages == {}  # only this project's own can split their time
    assert run.data["answerable"] == run.data["judged"] > run.data["asked"]
    assert run.machine["threads"] == 1
    shares = [share for _, share in shown]
    assert all(0 <= share < 1 for share in shares)
    assert {"base starts", "single-stream"} <= {text for text, _ in shown}


def test_only_the_scenarios_that_were_asked_for() -> None:
    run = measure([slow("base", 1)], ONLY_OFFLINE)
    outcome = run.outcomes[0]
    assert outcome.rate
    assert outcome.latency is None
    assert outcome.server is None
    assert run.data["asked"] == 24


def test_as_many_questions_as_the_plan_wants_however_long_they_take() -> None:
    hurried = replace(ONLY_OFFLINE, seconds=0.001, most=None)
    for fewest in (24, 40):
        assert measure([slow("base", 1)], replace(hurried, fewest=fewest)).data["asked"] == fewest


def test_those_that_fail_are_named_and_cost_nobody_elses_figures() -> None:
    ready, first, mute = {"ready": True}, {"answers": ["The"]}, {"seconds": [0.001], "answers": [""]}
    failing = [
        saying("no model", {"error": "no such model"}),
        slow("lame", 1, why_not="there is no GPU"),
        saying("no kernel", ready, {"error": "no kernel for this CPU"}),
        saying("mute", ready, *[mute] * 9),
        saying("weak", ready, first, {"error": "out of memory"}),
    ]
    *others, base = measure([*failing, slow("base", 1)], ONLY_OFFLINE).outcomes
    assert [one.error for one in others] == [
        "no such model",
        "there is no GPU",
        "no kernel for this CPU",
        "mute gives no answer to any question: there is nothing to compare",
        "out of memory",
    ]
    assert all(one.ratio is None for one in others)
    assert base.ratio
    assert base.ratio.median == 1
    with pytest.raises(EngineError, match=r"no model: no such model; lame: there is no GPU"):
        measure(failing[:2], PLAN)


def test_a_queue_that_grows_is_no_rate_that_holds() -> None:
    assert falls_behind([0.01 * number for number in range(100)], limit=2000)
    assert not falls_behind([0.5, 0.6] * 50, limit=2000)
    assert not falls_behind([0.01] * 50 + [0.05] * 50, limit=2000)  # far from the limit: a burst


def test_the_limit_of_the_server_is_the_users() -> None:
    plan = replace(PLAN, p99_ms=0.001, scenarios=("server", "single-stream"), seconds=2, most=24)
    server = measure([slow("base", 1)], plan).outcomes[0].server
    assert server
    assert (server.limit_ms, server.rate) == (0.001, 0)
    usual = measure([slow("base", 1)], replace(plan, p99_ms=None)).outcomes[0]
    assert usual.server
    assert usual.latency
    assert usual.server.limit_ms == pytest.approx(2 * usual.latency.p99)
    rates = [rate for rate, _, _ in server.steps]
    assert rates == sorted(rates, reverse=True)  # it looked for a rate that holds further down


def test_entrants_are_all_that_the_bundle_runs_here(tiny_bundle: Bundle) -> None:
    found = list_contenders(tiny_bundle, precisions=None, against=None, device="cpu")
    names = [one.name for one in found]
    assert {"fp32, onnxruntime", "int8, onnxruntime"} <= set(names)
    assert [one.name for one in list_contenders(tiny_bundle, precisions=["int8"], against=None, device="cpu")] == [
        "int8, onnxruntime"
    ]
    fp32 = found[names.index("fp32, onnxruntime")]
    assert fp32.model_bytes == tiny_bundle.graph("fp32").file.size
    assert json.loads(fp32.command(3)[-1])["threads"] == 3
    with pytest.raises(BundleError, match="holds fp32, int8, not fp16"):
        list_contenders(tiny_bundle, precisions=["fp16"], against=None, device="cpu")


@pytest.mark.cpu
def test_torch_comes_first_and_bf16_only_where_the_cpu_has_it(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "instruction_sets", lambda: ("avx2",))
    found = list_contenders(tiny_bundle, precisions=None, against="somewhere", device="cpu")
    assert [one.name for one in found[:2]] == ["PyTorch fp32", "PyTorch bf16"]
    assert found[0].why_not == ""
    assert "no instructions for bf16" in found[1].why_not
    monkeypatch.setattr(cpu, "instruction_sets", lambda: ("avx2", "avx512_bf16"))
    assert list_contenders(tiny_bundle, precisions=None, against="somewhere", device="cpu")[1].why_not == ""


def test_a_precision_is_weighed_with_all_that_pip_installs_for_it(tiny_bundle: Bundle) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    base = [Requirement(line).name for line in tomllib.loads(text)["project"]["dependencies"]]
    (contender, *_) = list_contenders(tiny_bundle, precisions=["int8"], against=None, device="cpu")
    assert contender.install_bytes == install_bytes([*base, "onnxruntime"])


def test_what_pip_installed_is_weighed_with_all_that_it_needs() -> None:
    alone, more = install_bytes(["click"]), install_bytes(["click", "numpy"])
    assert alone
    assert more
    assert 100_000 < alone < 5_000_000
    assert more > alone + 10_000_000
    assert install_bytes(["no-such-package-here"]) is None


def test_the_record_of_the_machine_names_what_matters() -> None:
    found = json.loads(json.dumps(record(2, {1, 0})))
    assert found["cpus"] == [0, 1]
    assert found["cores"]["logical"] == os.cpu_count()
    assert {"numpy", "tokenizers", "qa-onnx"} <= set(found["versions"])


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    """Four CPUs that do what a test says, in place of those that are here."""
    computer = Computer(tmp_path / "stat")
    computer.works(busy=0)
    monkeypatch.setattr(bench_record, "_STAT", computer.stat)
    monkeypatch.setattr(bench_record, "time", computer)
    monkeypatch.setattr(bench_record, "_own_seconds", lambda: 0.0)
    monkeypatch.setattr(bench_record, "cpu_seconds", computer.seconds_of.__getitem__)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return computer


class Computer:
    """Its time goes on while somebody sleeps, and while it works."""

    def __init__(self, stat: Path) -> None:
        self.stat = stat
        self.now = self.busy = self.stolen = 0.0
        self.seconds_of: dict[int, float] = {}
        self.busy_meanwhile = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.works(busy=self.busy_meanwhile * seconds, seconds=seconds)

    def works(self, *, busy: float, stolen: float = 0.0, seconds: float = 0.0) -> None:
        """Seconds go by, in which CPUs are busy for so many, and others are stolen."""
        self.now += seconds
        self.busy += busy
        self.stolen += stolen
        busy_ticks, stolen_ticks = (int(os.sysconf("SC_CLK_TCK") * one) for one in (self.busy, self.stolen))
        self.stat.write_text(f"cpu  {busy_ticks} 0 0 100 0 0 0 {stolen_ticks} 0 0\n", encoding="ascii")


def test_noise_hears_other_programs_but_not_those_that_are_measured(computer: Computer) -> None:
    noise = Noise()
    computer.works(busy=10, seconds=10)
    computer.seconds_of[7] = 9.0
    assert noise.report([]) == ["other programs used 25 % of the cores' time"]
    assert noise.report([7]) == []  # 1 s of 40 is no noise
    computer.works(busy=0, stolen=2, seconds=0)
    assert noise.report([7]) == ["the hypervisor took 5 % of the cores' time"]
    computer.busy_meanwhile = 2.0
    noise = Noise()
    computer.works(busy=0, seconds=10)
    assert noise.report([]) == ["before the run other programs used 50 % of the cores' time"]


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc")
def test_the_time_of_a_busy_process_is_known() -> None:
    before = bench_record._jiffies()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        eventually(lambda: bench_record.cpu_seconds(busy.pid) > 0.2, "it has worked for 0.2 s")
        after = bench_record._jiffies()
        busy.kill()
    assert before
    assert after
    assert after[0] - before[0] >= 0.1 * os.sysconf("SC_CLK_TCK")


def test_cpus_are_one_a_core() -> None:
    cores = cpu.core_cpus()
    assert len(cores) == cpu.cores().usable
    if hasattr(os, "sched_getaffinity"):
        assert set(cores) <= os.sched_getaffinity(0)
        assert cpus_for(1) == {cores[0]}
    assert cpus_for(len(cores) + 1) == frozenset()


@pytest.mark.parametrize(
    ("script", "megabytes"),
    [
        ("echo 12, 500; echo 345, 1024; echo 345, 76", 1100 * 2**20 / 1e6),
        ("echo 3456, 500", None),
        ("echo '345, [N/A]'", None),
        ("exit 9", None),
    ],
)
def test_gpu_memory_is_what_nvidia_smi_lists_for_the_process(
    script: str, megabytes: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert gpu_megabytes(345) == megabytes


def test_the_command_shows_as_much_as_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_compare, "compare", lambda *_, **__: RUN)
    plain, verbose, wide = (
        CliRunner().invoke(main, ["bench", "-b", str(TINY), *more]).stdout for more in ([], ["-v"], ["--wide"])
    )
    assert plain.startswith("int8, onnxruntime answers 2.86 times as many questions a second as PyTorch fp32")
    assert max(map(len, plain.splitlines())) <= 100
    assert "d.json: 3 questions in 3 rounds, 2 threads, A CPU\n" in plain
    assert re.search(r"^broken \| one +- +- +-", plain, re.MULTILINE)
    assert "x base: speed beside the first row" in plain
    assert "broken | one did not run: it is not installed" in plain
    assert "again: qa-onnx bench --quick" in verbose
    assert "server q/s" in wide.splitlines()[2]


def test_the_command_measures_and_writes_a_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "report"
    arguments = ["bench", "-b", str(TINY), "--seconds", "2", "--threads", "1", "--out", str(out)]
    result = CliRunner().invoke(main, [*arguments, "--precisions", "int8", "--scenarios", "offline,single-stream"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("int8, onnxruntime answers ")  # the result in a sentence
    assert "again: qa-onnx" not in result.stdout
    assert f"wrote {out / 'report.html'}" in result.stderr
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["contender"] for row in rows] == ["int8, onnxruntime"]
    for name in ("f1", "questions_per_second", "p99_ms", "cold_start_s", "model_mb", "peak_mb"):
        assert float(rows[0][name]) >= 0, name
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))["runs"][0]
    first = content["outcomes"][0]
    assert list(first["stages"]) == ["tokenize", "pack", "model", "search", "map"]
    assert all(milliseconds > 0 for milliseconds in first["stages"].values())
    assert sum(first["stages"].values()) == pytest.approx(1000 / first["rate"])
    assert first["model_rate"] == pytest.approx(1000 / first["stages"]["model"])
    assert first["model_rate"] > first["rate"]
    assert len(first["by_batch_tokens"]) == 4
    assert len(first["by_length"]) == 5
    assert list(first["by_threads"]) == ["1"]
    assert content["data"]["name"] == "questions of qa-onnx"
    assert not list(out.rglob("*.partial"))
    assert "<svg" in (out / "report.html").read_text(encoding="utf-8")


def test_the_user_chooses_data_and_scenarios(tmp_path: Path) -> None:
    data = tmp_path / "mine.jsonl"
    lines = (
        json.dumps({"id": g.id, "question": g.question, "context": g.context, "answers": list(g.answers)})
        for g in GOLDS
    )
    data.write_text("\n".join(lines), encoding="utf-8")
    arguments = [
        "bench",
        "-b",
        str(TINY),
        "--precisions",
        "fp32",
        "--seconds",
        "1",
        "--quick",
        "--data",
        str(data),
    ]
    result = CliRunner().invoke(main, [*arguments, "--scenarios", "offline", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert re.search(r"^mine\.jsonl: \d+ questions in \d+ rounds, \d+ threads?, ", result.stdout, re.MULTILINE)
    assert "the 99th percentile" not in result.stdout
    limited = CliRunner().invoke(main, [*arguments, "--scenarios", "server", "--p99-ms", "12345", "-v"])
    said = " ".join(limited.stdout.split())
    assert re.search(r"mine\.jsonl: \d+ of 40 questions timed in", said)
    assert "again: qa-onnx" in said
    assert "must not pass 12345 ms" in limited.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--precisions", "int4"], 2, "'int4' is not one of fp32"),
        (["--scenarios", "offline,none"], 2, "'none' is not one of offline"),
        (["--seconds", "0"], 2, "--seconds"),
        (["--precisions", "fp16"], 1, "not fp16"),
        (["--device", "cuda"], 1, "on device 'cuda'"),
        (["--device", "cuda", "--precisions", "int8"], 1, "no engine here runs int8 on device 'cuda'"),
        (["-b", "nowhere"], 1, "nowhere"),
    ],
)
def test_wrong_usage_is_said_in_a_line(arguments: list[str], code: int, said: str) -> None:
    result = CliRunner().invoke(main, ["bench", "-b", str(TINY), *arguments])
    assert result.exit_code == code
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
