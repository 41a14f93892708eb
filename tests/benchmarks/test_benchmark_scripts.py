"""Every script of benchmarks/ runs on today's code: its real main, on a tiny input, with the smallest settings.

What the figures are is not looked at: only that they are there, and that answers are what they must be.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from argparse import Namespace
from functools import partial
from importlib import metadata
from pathlib import Path

import bundles
import field
import measured
import pytest
import rivals
import train_speed
from environments import Environment
from others import QUICK, Rival
from pages import Page
from rivals import Race

from qa_onnx import Bundle, Example, Reader
from qa_onnx.bench import contenders
from qa_onnx.bench.questions import PATH
from qa_onnx.bench.results import from_json
from qa_onnx.data.squad import load
from qa_onnx.machine import cpu
from tests import training_data
from tests.conftest import TINY, edit_manifest
from tests.exports import checkpoint

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TEXTS = 3  # of the project's own, the shortest: 13 questions, of which they leave two open


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = json.loads(PATH.read_text(encoding="utf-8"))
    content["data"] = content["data"][:TEXTS]
    path = tmp_path_factory.mktemp("questions") / "few.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_accuracy_beside_the_same_graph(tiny_bundle: Bundle, questions: Path) -> None:
    graph = tiny_bundle.path / tiny_bundle.graph("fp32").file.name
    ours = ["-b", TINY, "--precision", "fp32", "--threads", 1]
    done = run("accuracy.py", questions, *ours, "--graph", f"again={graph}")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["qa-onnx", "again"]
    assert lines[0][2:] == lines[1][1:]  # the same graph has the same figures
    assert done.stdout.count("+0.00 (+0.00 to +0.00)  n 11\n") == 2


def test_releases_of_an_engine_beside_each_other(questions: Path, tmp_path: Path) -> None:
    version = metadata.version("onnxruntime")
    found = Path(str(metadata.distribution("onnxruntime").locate_file("")))
    for name in (version, "1.0.0"):  # one is what it says, and the other is not
        folder = tmp_path / "releases" / f"onnxruntime-{name}"
        folder.mkdir(parents=True)
        for part in ("onnxruntime", f"onnxruntime-{version}.dist-info"):
            (folder / part).symlink_to(found / part)
    fixed = ["--folder", tmp_path / "releases", "--bundle", TINY, "--data", questions, "--threads", 1, "--quick"]
    done = run("releases.py", "onnxruntime", version, *fixed, "--json", tmp_path / "page.json")
    assert done.returncode == 0, done.stderr
    page = Page.of(json.loads((tmp_path / "page.json").read_text()))
    assert [row[0] for row in page.rows] == [version]
    assert page.head[:3] == ("release", "F1", "questions/s")
    done = run("releases.py", "onnxruntime", version, "1.0.0", *fixed)
    assert done.returncode == 1
    assert f"is not what Python imports: Python imports {version} from" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["accuracy.py", "questions.json", "--graph", "model.onnx"], "it must be NAME=FILE"),
        (["cold_start.py", "--rounds", "0"], "--rounds is 0; it must be at least 1"),
        (
            ["hf4_parity.py", "--checkpoint", TINY],
            "name the Python of an environment with transformers 4 by --hf4",
        ),
        (["map_scale.py", "--workers", "0"], "--rows and --workers must be at least 1, --kills at least 0"),
        (["memory.py", "--requests", "99"], "--requests is 99; it must be at least 100"),
        (["rivals.py", "--pieces", "2"], "--pieces 2 needs --questions of at least 16"),
        (["rivals.py", "--only", "bert-huge"], "no part bert-huge: it must be one of minilm-squad, bert-base"),
        (["service_times.py", "--calls", "0"], "--calls is 0; it must be at least 1"),
        (["support.py", "questions.json", "--questions", "0"], "--questions must be at least 1"),
        (["shapes.py", "bert-huge"], "invalid choice: 'bert-huge'"),
    ],
)
def test_wrong_usage_is_refused_with_the_reason(words: list[object], message: str) -> None:
    refused = run(str(words[0]), *words[1:])
    assert (refused.returncode, refused.stdout) == (2, "")
    assert message in refused.stderr


@pytest.mark.slow
def test_retrieval(tmp_path: Path, questions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bm25s", reason="needs qa-onnx[search]")
    import retrieval

    out = tmp_path / "pages.json"
    monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / "retrieval.py")])
    retrieval.main([str(questions), "--book", str(questions), "--quick", "--json", str(out)])
    pages = [Page.of(page) for page in json.loads(out.read_text())]
    assert [page.title.partition(",")[0] for page in pages] == [
        "Recall of BM25",
        "Milliseconds",
        *["F1 by the passages that are read at most", "F1 by the scale that answers of different passages share"]
        * 2,
    ]
    assert all(row[-1] == "100.0" for row in pages[0].rows)  # of so few passages each is among the first 100


@pytest.mark.slow
def test_support(tmp_path: Path, questions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bm25s", reason="needs qa-onnx[search]")
    import support

    out = tmp_path / "pages.json"
    monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / "support.py")])
    support.main([str(questions), "--quick", "--json", str(out)])
    verdicts, least_scores, _, ways = (Page.of(page) for page in json.loads(out.read_text()))
    assert [row[0] for row in verdicts.rows][::4] == ["true", "another article"]
    assert int(verdicts.rows[0][1]) > 0
    for row in verdicts.rows:  # each claim has one verdict
        assert int(row[1]) == sum(int(cell.partition(" ")[0]) for cell in row[2:5])
    assert least_scores.rows[0][0] == "0.2"
    assert len(ways.rows) == 3


@pytest.mark.slow
def test_map_scale(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs qa-onnx[map]")
    words = ["--quick", "--workers", 1, "--bundle", TINY, "--precision", "fp32", "--json", tmp_path / "page.json"]
    done = run("map_scale.py", *words)
    assert done.returncode == 0, done.stderr
    [row] = Page.of(json.loads((tmp_path / "page.json").read_text())).rows
    assert row[:2] == ("local", "500")
    assert re.fullmatch("[0-9a-f]{16}", row[-1])
    assert row[-1] == row[-2]


@pytest.mark.export
@pytest.mark.slow
def test_cold_start(tmp_path: Path) -> None:
    done = run("cold_start.py", "--rounds", 1, "--json", tmp_path / "page.json")
    assert done.returncode == 0, done.stderr
    page = Page.of(json.loads((tmp_path / "page.json").read_text()))
    assert [row[0] for row in page.rows] == ["qa-onnx, default bundle", "transformers and PyTorch, fp32"]
    assert all(float(cell.replace(",", "")) > 0 for row in page.rows for cell in row[1:])


# In place of a Python with transformers 4: ours, which must agree with itself but for what is changed.
OLD_PIPELINE = """#!{python}
import json, sys, warnings
sys.path.append({benchmarks!r})
from hf4_parity import call
from qa_onnx import pipeline
warnings.simplefilter("ignore")
asker = pipeline("question-answering", model=sys.argv[-1], compat="hf4")
results = [call(asker, one) for one in json.load(sys.stdin)]
results[0]["score"] += {change}
json.dump(results, sys.stdout)
"""


@pytest.mark.parametrize(("change", "differ"), [(0.0, 0), (0.01, 1)])
def test_parity_with_the_old_pipeline(tmp_path: Path, questions: Path, change: float, differ: int) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(OLD_PIPELINE.format(python=sys.executable, benchmarks=str(BENCHMARKS), change=change))
    stand_in.chmod(0o700)
    done = run("hf4_parity.py", "--hf4", stand_in, "--checkpoint", TINY, "--data", questions, "--questions", 13)
    assert f"13 calls, {differ} differ; best scores within 0.0e+00 of each other" in done.stdout, done.stderr
    assert done.returncode == differ
    assert done.stdout.count("\n") == 1 + differ


@pytest.mark.slow
def test_service_times(tmp_path: Path) -> None:
    out, page_file = tmp_path / "times.json", tmp_path / "page.json"
    small = ["--quick", "--bundle", TINY, "--precision", "fp32", "--calls", 9]
    done = run("service_times.py", *small, "--out", out, "--json", page_file)
    assert done.returncode == 0, done.stderr
    times = measured.read(out)
    assert (
        times.command
        == f"python benchmarks/service_times.py --quick --bundle {TINY.name} --precision fp32 --calls 9"
    )
    assert (times.precision, times.backend) == ("fp32", "onnxruntime/cpu")
    threads = sorted({1, cpu.default_threads()})
    assert [(one.threads, one.words) for one in times.single] == [
        (n, words) for n in threads for words in (32, 128)
    ]
    for one in times.single:
        assert len(one.milliseconds) == 9
        assert min(one.milliseconds) > 0
        assert one.tokens > one.words
    assert times.single[0].windows < times.single[1].windows  # windows of the tiny model have 64 tokens
    assert [(one.words, one.questions, len(one.seconds)) for one in times.batch] == [(32, 8, 2), (128, 8, 2)]
    assert times.size.bundle == sum(file.stat().st_size for file in TINY.iterdir() if file.name != "bundle.json")
    assert times.start.loaded_mb > 0
    page = Page.of(json.loads(page_file.read_text()))
    assert [row[0] for row in page.rows] == ["32", "128"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bundle", "none"], "error: none"),
        (["--bundle", TINY, "--precision", "fp16"], "error: "),
    ],
)
def test_service_times_of_what_does_not_run_end_with_the_reason(words: list[object], message: str) -> None:
    refused = run("service_times.py", "--quick", *words)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(message)
    assert "Traceback" not in refused.stderr


def test_the_limit_of_int8() -> None:
    pytest.importorskip("onnx", reason="needs qa-onnx[quantize]")
    done = run("int8_limit.py", TINY, "--shapes", "1x16,2x8", "--threads", 1, "--rounds", 1)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:4] for line in lines] == [[shape, "int8", "in", "onnxruntime"] for shape in ("1x16", "2x8")]
    assert all(line[-3:] == ["of", "the", "limit"] for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds processes to cores, which is Linux alone")
def test_the_server_under_load(tiny_copy: Path, questions: Path) -> None:
    """With a null threshold that leaves some questions without an answer, here and at the server alike."""
    pytest.importorskip("fastapi", reason="needs qa-onnx[serve]")
    golds = load(questions).golds
    predictions = Reader.load(tiny_copy, precision="fp32", threads=1).predict(
        Example(gold.question, gold.context) for gold in golds
    )
    margins = sorted(prediction.null_score - prediction.answers[0].score for prediction in predictions)
    threshold = (margins[6] + margins[7]) / 2
    assert margins[7] - margins[6] > 1e-3  # more than batches can move them in fp32
    edit_manifest(tiny_copy, lambda content: content.update(null_threshold=threshold))
    assert Bundle.load(tiny_copy).manifest.null_threshold == threshold
    small = ["--questions", 13, "--rounds", 1, "--seconds", 0.2]
    done = run("serve_load.py", questions, "-b", tiny_copy, "--precision", "fp32", *small)
    assert done.returncode == 0, done.stderr
    assert "answers: 13 the same, 0 not, codes {200: 13}; []\n" in done.stdout
    for name in ("offline ", "served ", "served / offline: ", "at half, ", "at three times, ", "memory: "):
        assert re.search(f"^{name}", done.stdout, re.MULTILINE), name


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside the Trainer"])
def test_training_speed(questions: Path, *, alone: bool) -> None:
    if not alone:
        pytest.importorskip("accelerate", reason="the Trainer of transformers needs accelerate")
    small = ["--examples", 8, "--rounds", 1, "--threads", 1, "--max-length", 96]
    judged = ["--eval-data", questions, "--eval-limit", 4]
    done = run("train_speed.py", checkpoint("bert"), questions, *small, *judged, *(["--alone"] if alone else []))
    assert done.returncode == 0, done.stderr
    found = re.findall(
        r"^(.*\w) +[\d.]+ examples/s, peak +\d+ MB, F1 [\d.]+; qa-onnx is", done.stdout, re.MULTILINE
    )
    assert found[0] == "qa-onnx train"
    assert len(found) == (1 if alone else 3)


@pytest.mark.export
@pytest.mark.slow
def test_what_training_forgets(questions: Path, tmp_path: Path) -> None:
    content = json.loads(training_data.write(tmp_path / "data.json", articles=3).read_bytes())
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            again = {**paragraph["qas"][0], "question": "What is it?"}
            paragraph["qas"].append({**again, "id": f"{again['id']}-again"})
    (tmp_path / "data.json").write_text(json.dumps(content))
    small = ["--articles", 3, "--limit", 5, "--negatives", 0.5, "--max-length", 96, "--threads", 1]
    done = run("train_no_answer.py", checkpoint("bert"), tmp_path / "data.json", questions, *small)
    assert done.returncode == 0, done.stderr
    first, before, after = done.stdout.splitlines()
    assert first.startswith("6 questions on 3 texts")
    for line, label in ((before, "before"), (after, 'negatives 0.5: .*"far negatives": 3.*')):
        assert re.fullmatch(rf"{label}: dev withheld .*%, F1 .*; unseen withheld .*%, F1 .*", line)


def test_training_speed_says_who_could_not_train(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_speed.py"])  # so each contender lacks its arguments
    with pytest.raises(SystemExit, match="qa-onnx train ended with exit code 2"):
        train_speed.race(Namespace(rounds=1, alone=True))
    assert "arguments are required: base, data" in capfd.readouterr().err


RUNNER = """
import sys
sys.path.append({rivals!r})
from rival import Started, run
def answer(pairs):
    return [context.split()[0] for _, context in pairs]
run(lambda order: Started(answer, {{"threads": order.threads}}))
"""


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize(
    "pieces", [pytest.param(False, id="whole"), pytest.param(True, id="in pieces", marks=pytest.mark.soak)]
)
def test_everybody_on_a_tiny_model(
    tmp_path: Path, questions: Path, monkeypatch: pytest.MonkeyPatch, *, pieces: bool
) -> None:
    """PyTorch, a rival and qa-onnx, and a page, from exporting to the report; nothing is installed."""
    pytest.importorskip("matplotlib", reason="needs qa-onnx[bench]")
    script, out = tmp_path / "runner.py", tmp_path / "out"
    script.write_text(RUNNER.format(rivals=str(BENCHMARKS / "rivals")))
    for module in (field, rivals):
        monkeypatch.setattr(module, "BUILD", tmp_path / "build")
    monkeypatch.setattr(field, "FIELD", (Rival("a rival", "transformers-4", str(script), "fp32", (QUICK,)),))
    monkeypatch.setattr(field, "installed", lambda name, **_: Environment(Path(sys.executable), 7_000_000))
    monkeypatch.setattr(field, "exported", partial(bundles.exported, to=tmp_path / "bundles"))
    monkeypatch.setattr(field, "PRECISIONS", ("fp32",))
    monkeypatch.setattr(contenders, "TORCH_PRECISIONS", ("fp32",))
    monkeypatch.setattr(rivals, "DEFAULT", checkpoint("bert"))
    monkeypatch.setattr(rivals, "RACES_QUICK", {"tiny": Race(QUICK, 2.0, 8, 85)})
    monkeypatch.setattr(rivals, "PAGES_QUICK", ("span_search",))
    arguments = ["--quick", "--data", str(questions), "--threads", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["benchmarks/rivals.py", *arguments])
    if pieces:
        monkeypatch.setattr(sys, "argv", [*sys.argv, "--questions", "16", "--pieces", "2", "--contender", "a *"])
    stored: list[Path] = []
    monkeypatch.setattr(rivals, "fill_readme", lambda _, folder: stored.append(folder))
    assert rivals.main() == 0
    assert stored == [out]
    [found] = from_json((out / "results.json").read_text())
    names = [outcome.name for outcome in found.ran]
    assert names[:2] == ["PyTorch fp32", "a rival"]
    assert ("qa-onnx fp32, onnxruntime" in names) is not pieces
    assert found.data["asked"] == (9 if pieces else 8)  # of 10 on texts of at most 85 words; `most`
    assert [path.name for path in sorted((tmp_path / "build" / "parts").iterdir())] == (
        ["span_search.json", "tiny-1.json", "tiny-2.json"] if pieces else ["span_search.json", "tiny.json"]
    )
    [page] = json.loads((out / "pages.json").read_text())
    assert page["command"] == "python benchmarks/span_search.py --quick"
    assert "## " + page["title"] in (out / "report.md").read_text()
