"""Names of data sets on the hub, with a stand-in for the package `datasets`.

The stand-in has the signature and results of `datasets.load_dataset` that hub.py uses: a data set for a split, and
a dict of splits without one. Everything else of `datasets`, its network, its files and its cache, has tests of its
own, and needs the network.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from qa_onnx import InputError, MissingExtraError
from qa_onnx.cli import main
from qa_onnx.data import hub
from qa_onnx.data.squad import load
from tests.conftest import TINY

ROWS = [
    {
        "id": str(number),
        "title": "Mill",
        "context": "The mill was built by Marta Linden.",
        "question": question,
        "answers": {"text": [text], "answer_start": [start]},
    }
    for number, (question, text, start) in enumerate([("Who?", "Marta Linden", 22), ("What?", "The mill", 0)])
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Put the stand-in in the place of `datasets`; return what it is called with."""
    seen: list[tuple[Any, ...]] = []

    def load_dataset(path: str, name: str | None = None, *, split: str | None = None) -> Any:
        seen.append((path, name, split))
        if path == "mills/absent":
            raise FileNotFoundError(f"Dataset '{path}' doesn't exist on the Hub or cannot be accessed.")
        splits = {"only": ROWS} if path == "mills/one" else {"train": ROWS[:1], "validation": ROWS}
        return splits if split is None else splits[split]

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(hub, "version", lambda _: "4.4.1")
    return seen


def test_a_split_is_read(calls: list[tuple[Any, ...]]) -> None:
    data = load("mills/qa:validation")
    assert [(gold.id, gold.answers, gold.answer_starts, gold.article) for gold in data.golds] == [
        ("0", ("Marta Linden",), (22,), "Mill"),
        ("1", ("The mill",), (0,), "Mill"),
    ]
    lines = "".join(json.dumps(row, sort_keys=True) for row in ROWS)
    assert (data.name, data.sha256) == ("mills/qa:validation", hashlib.sha256(lines.encode()).hexdigest())
    assert len(load(Path("mills/qa:en:train")).golds) == 1
    assert len(load("mills/one").golds) == 2
    assert calls == [("mills/qa", None, "validation"), ("mills/qa", "en", "train"), ("mills/one", None, None)]


@pytest.mark.usefixtures("calls")
def test_a_split_must_be_named_if_there_are_several() -> None:
    with pytest.raises(InputError, match=r"has the splits \['train', 'validation'\]: name one: mills/qa:train"):
        load("mills/qa")


@pytest.mark.usefixtures("calls")
def test_a_data_set_that_cannot_be_loaded_may_be_a_file_that_is_not_there() -> None:
    with pytest.raises(
        InputError, match=r"there is no file mills/absent, and no data set .*doesn't exist on the Hub"
    ):
        load("mills/absent")


@pytest.mark.parametrize(("installed", "problem"), [(None, "not installed"), ("3.6.0", "3.6.0 runs the code")])
def test_without_datasets_the_pip_line_is_named(
    installed: str | None, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "version", lambda _: installed)
    with pytest.raises(MissingExtraError, match=rf"datasets is {problem}.*pip install 'datasets>=4'"):
        load("mills/qa:train")


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("mills/qa", True),
        ("mills/qa-2.0:validation", True),
        ("mills/qa:en:test[:10]", False),
        ("squad", False),
        ("data/dev.json", False),
        ("data/dev.jsonl.zst", False),
        ("a/b/c", False),
        ("/mills/qa", False),
    ],
)
def test_names_and_files_are_told_apart(text: str, is_name: bool) -> None:
    assert hub.is_name(text) == is_name


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mills").mkdir()
    Path("mills/qa").write_text(json.dumps(ROWS))
    assert not hub.is_name("mills/qa")
    assert len(load("mills/qa").golds) == 2


@pytest.mark.usefixtures("calls")
def test_commands_take_names() -> None:
    for command in (["eval", "mills/qa:validation"], ["ask", "--input", "mills/qa:validation"]):
        result = CliRunner().invoke(main, [*command, "-b", str(TINY), "--precision", "fp32"])
        assert result.exit_code == 0, result.output
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["0", "1"]
    missing = CliRunner().invoke(main, ["eval", "mills.json"])
    assert missing.exit_code == 2
