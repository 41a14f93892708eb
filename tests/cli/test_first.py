"""What cannot succeed is said before any work begins, in one line, with exit code 1."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qa_onnx.bench import compare, tune
from qa_onnx.cli import main
from qa_onnx.data import squad
from qa_onnx.machine import packages
from tests.conftest import TINY

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

BENCH = ["bench", "-b", str(TINY)]
QUESTION = {"question": "What?", "context": "The boat is blue.", "answers": ["blue"]}
without_torch = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("torch", "transformers", "optimum")), reason="needs qa-onnx[export]"
)


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test as soon as a command reads its data or starts what it measures."""

    def work(*arguments: Any, **named: Any) -> Any:
        pytest.fail("work began")

    for module, name in ((squad, "load"), (compare, "compare"), (tune, "tune")):
        monkeypatch.setattr(module, name, work)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(QUESTION), encoding="utf-8")
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def is_refused(done: Result, message: str) -> None:
    assert done.exit_code == 1, done.output
    assert message in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.usefixtures("nothing_works")
def test_bench_without_torch_names_all_that_is_missing(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    found = packages.version
    monkeypatch.setattr(
        packages, "version", lambda name: None if name in {"torch", "transformers"} else found(name)
    )
    for words in ((*BENCH, "--against", "anything", "--data", data), ("export", "somewhere", "--eval-data", data)):
        done = run(*words)
        is_refused(done, "pip install 'qa-onnx[export]'")
        assert "torch, transformers not installed" in done.stderr


@without_torch
@pytest.mark.usefixtures("nothing_works")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "./nowhere is neither a folder nor the id of a model on the hub"),
        ("{folder}/file", "is neither a folder nor the id"),
        ("{folder}/empty", "is not a checkpoint: it has no config.json"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(name: str, message: str, tmp_path: Path, data: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    checkpoint = name.format(folder=tmp_path)
    is_refused(run(*BENCH, "--against", checkpoint, "--data", data), message)
    is_refused(run("export", checkpoint, "--eval-data", data), message)


@pytest.mark.usefixtures("nothing_works")
@pytest.mark.parametrize(
    "words",
    [
        (*BENCH, "--out", "{folder}/file/report", "--data", "{data}"),
        ("eval", "-b", TINY, "{data}", "--errors", "{folder}/nowhere/errors.jsonl"),
        ("report", "-b", TINY, "--html", "{folder}/nowhere/report.html"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused(
    words: tuple[object, ...], tmp_path: Path, data: Path
) -> None:
    (tmp_path / "file").touch()
    is_refused(run(*(str(word).format(folder=tmp_path, data=data) for word in words)), "cannot write")


@pytest.mark.usefixtures("nothing_works")
def test_tune_looks_at_its_cache_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    is_refused(run("tune", "-b", TINY), "the cache folder cannot be used")


@without_torch
@pytest.mark.slow
def test_bench_fails_at_once_where_what_it_is_to_compare_with_is_no_checkpoint(tmp_path: Path, data: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}", encoding="utf-8")
    (broken / "model.safetensors").touch()
    words = ("--quick", "--seconds", 1, "--precisions", "int8", "--scenarios", "offline", "--data", data)
    done = run(*BENCH, "--against", broken, *words)
    assert done.exit_code == 1
    assert "config.json has the model_type None; it must name a kind of model" in done.stderr
