"""A path that is misspelled: the error names the one that was meant."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from qa_onnx import BundleError, Reader
from qa_onnx.cli import main
from qa_onnx.machine.files import did_you_mean
from tests.conftest import TINY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle, a checkpoint's folder, a text and data, in which commands run."""
    shutil.copytree(TINY, tmp_path / "exported" / "tiny-squad")
    (tmp_path / "models" / "my-checkpoint").mkdir(parents=True)
    (tmp_path / "lighthouse.txt").write_text("Ida came by boat.", encoding="utf-8")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "questions").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("ask -b exported/tinysquad -q Who? -c lighthouse.txt", "exported/tiny-squad"),
        ("inspect -b export/tiny-squad", "exported/tiny-squad"),
        ("ask -b exported/tiny-squad -q Who? -c lighthous.txt", "lighthouse.txt"),
        ("eval -b exported/tiny-squad dev/question.json", "dev/questions"),
        ("eval -b exported/tiny-squad dev/question", "dev/questions"),
        ("index lighthouse.tx --to index", "lighthouse.txt"),
        ("cite lighthouse.tex lighthouse.txt", "lighthouse.txt"),
    ],
)
def test_commands_name_what_was_meant(words: str, meant: str) -> None:
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code in {1, 2}
    assert f"did you mean {meant}?" in result.stderr
    assert "Traceback" not in result.output


def test_a_checkpoint_that_the_hub_does_not_give_is_looked_for_nearby(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    from qa_onnx.export.locate import find_checkpoint

    for name in ("models/my-checkpont", "./models/my-checkpont", str(folder / "model" / "my-checkpoint")):
        with pytest.raises(Exception, match=r"did you mean \S*models/my-checkpoint\?"):
            find_checkpoint(name)


def test_python_gets_the_same_remedy(folder: Path) -> None:
    with pytest.raises(BundleError) as caught:
        Reader.load(folder / "exported" / "tiny-squat")
    assert caught.value.remedy == f"did you mean {folder / 'exported' / 'tiny-squad'}?"


def test_only_what_fits_is_proposed(folder: Path) -> None:
    (folder / "exported" / "tiny-squad.log").touch()
    assert "did you mean" not in CliRunner().invoke(main, ["eval", "-b", "exported/tiny-squad", "dev"]).stderr
    (folder / "exported" / "mine.log").touch()
    for words in (["inspect", "-b", "exported/mine.lo"], ["export", "./exported/mine.lo"]):
        assert "did you mean" not in CliRunner().invoke(main, words).stderr
    assert did_you_mean("exported/mine.lo") == "did you mean exported/mine.log?"


def test_nothing_is_proposed_where_nothing_is_similar(folder: Path) -> None:
    assert did_you_mean(folder / "lighthouse.txt") == ""  # it is there
    assert did_you_mean(folder / "elsewhere") == ""
    assert did_you_mean(folder / "export" / "other") == ""  # "exported" is near, and has no such folder
    assert did_you_mean(folder / "lighthouse.txt" / "x") == ""
    assert did_you_mean("no\0path") == ""
    assert did_you_mean("") == ""
