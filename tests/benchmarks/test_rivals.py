"""Rivals: their protocol, what they keep, and what is written of a run. None of them is installed here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rivals
from field import Shape, calibration_file, model_bytes
from others import BASE, FIELD, LARGE, QUICK
from pages import Page, command, write
from rivals import BEGIN, END, RANDOM, README, RESULTS, STORED, filled, lost_titles, write_report

from qa_onnx import EngineError, pipeline
from qa_onnx.bench.process import ContenderProcess
from qa_onnx.bench.results import to_json
from qa_onnx.bundle import choice
from qa_onnx.data.squad import load
from tests.bench.test_results import RUN
from tests.conftest import TINY

if TYPE_CHECKING:
    from qa_onnx.bench.results import BenchResults

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RUNNER = """
import sys
sys.path.append({rivals!r})
from rival import run

def start(order):
    raise RuntimeError("no bf16 here")

run(start)
"""


def test_a_runner_that_cannot_start_says_why() -> None:
    order = {"checkpoint": "c", "variant": "bf16", "threads": 1, "cache": "none", "calibration": "none"}
    code = RUNNER.format(rivals=str(BENCHMARKS / "rivals"))
    with pytest.raises(EngineError, match="RuntimeError: no bf16 here"):
        ContenderProcess("one", [sys.executable, "-c", code, json.dumps(order)])


PAIR: dict[str, Any] = {"question": "Who?", "context": "Ida came by boat."}


def test_the_drop_in_pipeline_is_a_contender() -> None:
    arguments: dict[str, Any] = {"model": str(TINY), "precision": "fp32", "compat": "hf4", "threads": 1}
    command = [sys.executable, str(BENCHMARKS / "rivals" / "drop_in.py"), json.dumps(arguments)]
    with ContenderProcess("ours", command) as process:
        reply = process.ask({"pairs": [list(PAIR.values())]})
    expected = pipeline("question-answering", **arguments, max_answer_len=30)(**PAIR)
    assert reply["answers"] == [expected["answer"]]


def test_fewer_take_part_where_time_is_short(tmp_path: Path) -> None:
    assert all(map(Shape("one", tmp_path).takes, FIELD))
    for race in (QUICK, BASE, LARGE):
        assert 0 < len([rival for rival in FIELD if Shape("one", tmp_path, race).takes(rival)]) < len(FIELD)


def test_calibration_is_data_that_export_takes(tmp_path: Path) -> None:
    golds = load(calibration_file(tmp_path / "calibration.jsonl")).golds
    assert len(golds) > 20
    assert all(gold.context for gold in golds)


def test_the_size_of_a_model_is_that_of_its_own_export(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"1234567")
    cache = tmp_path / "cache"
    assert model_bytes(cache, "fp32", tmp_path / "checkpoint") == 7
    for name, content in (("fp32/model.onnx", b"12345"), ("int8-avx2/m.bin", b"12"), ("int8-avx2/m.xml", b"1")):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(content)
    assert model_bytes(cache, "fp32", tmp_path / "checkpoint") == 5
    assert model_bytes(cache, "int8", tmp_path / "checkpoint") == 3


def run_of(name: str) -> BenchResults:
    return replace(RUN, title=name, commit="abc1234", machine={**RUN.machine, "cpu": "a CPU"})


PAGE = Page(
    title="A page", head=("way", "us"), rows=(("a|b", "1.5"), ("<c>", "20")), notes=("n",), command="python x.py"
)


def test_the_readme_gets_the_tables_and_keeps_the_rest() -> None:
    begin = BEGIN.format("vnni")
    before = f"# Title\n\n{begin}\n\nold\n\n{END}\n\nlast\n"
    after = filled(before, "vnni", [run_of("one"), run_of("two")])
    assert after.startswith(f"# Title\n\n{begin}\n\n#### one\n\nMeasured 2026-11-25, commit abc1234, a CPU.\n\n")
    assert "int8, onnxruntime answers 2.86 times as many questions a second as PyTorch fp32" in after
    assert after.endswith(f"\n\n{END}\n\nlast\n")
    assert "old" not in after
    assert "broken | one did not run: it is not installed" in after
    assert "was not quiet" in after
    assert filled(after, "vnni", [run_of("one"), run_of("two")]) == after


def test_scores_of_random_weights_are_not_shown() -> None:
    begin = BEGIN.format("vnni")
    random = replace(run_of("random"), notes=(RANDOM,))
    tables = [filled(f"{begin}\n{END}", "vnni", [run]) for run in (run_of("trained"), random)]
    assert ["F1" in table.replace(RANDOM, "") for table in tables] == [True, False]


def test_the_readme_of_the_project_can_be_filled() -> None:
    readme = README.read_text(encoding="utf-8")
    named = [name for name in STORED.values() if BEGIN.format(name) in readme]
    assert len(named) >= 2
    assert all((RESULTS / name / "results.json").is_file() for name in named)
    for name in named:
        assert filled(readme, name, [run_of("one")]).count("#### one") == 1


def test_only_a_stored_run_changes_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{BEGIN.format('amx')}\n{END}\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    monkeypatch.setattr(rivals, "README", tmp_path / "README.md")
    monkeypatch.setattr(rivals, "RESULTS", tmp_path / "results")
    for folder in (tmp_path / "results" / "vnni", tmp_path / "elsewhere" / "amx"):
        rivals.fill_readme([run_of("one")], folder)
        assert (tmp_path / "README.md").read_text(encoding="utf-8") == text
    rivals.fill_readme([run_of("one")], tmp_path / "results" / "amx")
    assert "#### one" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_every_kind_of_cpu_has_a_folder() -> None:
    assert STORED.keys() == choice._SPEEDS.keys()


def test_a_run_of_one_part_does_not_replace_a_stored_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "RESULTS", tmp_path)
    write(tmp_path / "amx" / "results.json", to_json([run_of("one"), run_of("two")]))
    assert lost_titles([run_of("two")], tmp_path / "amx") == ["one"]
    assert lost_titles([run_of("one"), run_of("two"), run_of("three")], tmp_path / "amx") == []
    assert lost_titles([run_of("two")], tmp_path / "elsewhere") == []


def test_the_command_of_a_page_names_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [str(BENCHMARKS / "host.py"), "/home/me/dev.json", "--quick", "--json", "here/page.json"]
    monkeypatch.setattr(sys, "argv", words)
    found = command(without={"--json": Path("here/page.json")})
    assert found == "python benchmarks/host.py dev.json --quick"


@pytest.mark.parametrize("words", [["--out=there", "--data=/home/me/dev.json"], ["--data", "./a/dev.json"]])
def test_the_command_of_a_run_names_no_folder(words: list[str]) -> None:
    chosen = rivals.arguments([*words, "--questions", "16", "--pieces", "2", "--contender", "qa-onnx *"])
    assert rivals.command_of(chosen) == (
        "python benchmarks/rivals.py --data dev.json --contender 'qa-onnx *' --questions 16 --pieces 2"
    )


def test_a_page_is_shown_everywhere_and_survives_json(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert Page.of(json.loads(PAGE.to_json())) == PAGE
    assert PAGE.text().splitlines() == ["A page", "way   us", "a|b  1.5", "<c>   20", "n"]
    write_report([run_of("one")], [PAGE], tmp_path)
    markdown, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert "## A page" in markdown
    assert "| a/b | 1.5 |" in markdown
    assert "&lt;c&gt;" in page
    assert json.loads((tmp_path / "pages.json").read_text())[0]["title"] == "A page"
    assert {path.name for path in tmp_path.iterdir()} >= {"results.json", "results.csv"}


@pytest.mark.parametrize(("script", "rows"), [("span_search", 6), ("host", 15)])
def test_a_page_of_a_part(script: str, rows: int, tmp_path: Path) -> None:
    to = tmp_path / "page.json"
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick", "--json", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    page = Page.of(json.loads(to.read_text()))
    assert page.command == f"python benchmarks/{script}.py --quick"
    assert len(page.rows) == rows
    assert page.text() == done.stdout.rstrip("\n")


def test_a_document_length_on_the_tiny_bundle() -> None:
    command = [sys.executable, str(BENCHMARKS / "document_length.py"), "--quick", "--bundle", str(TINY)]
    done = subprocess.run([*command, "--threads", "1"], capture_output=True, text=True, check=True)
    counts = [line.split()[0] for line in done.stdout.splitlines()[2:5]]
    assert counts == ["1", "10", "30"]


def test_memory_over_few_requests_of_the_tiny_bundle() -> None:
    command = [sys.executable, str(BENCHMARKS / "memory.py"), "--bundle", str(TINY), "--requests"]
    done = subprocess.run([*command, "100"], capture_output=True, text=True, check=False)
    assert "from 10 to 100 requests" in done.stdout, done.stderr
