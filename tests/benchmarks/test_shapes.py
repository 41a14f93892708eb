"""Random models of given shapes: the same weights every time, and whole."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import shapes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.export
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def test_a_shape_is_made_once_with_the_tokenizer_of_the_default_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    monkeypatch.setitem(shapes.SHAPES, "small", SMALL)
    folder = shapes.checkpoint("small", to=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    model = AutoModelForQuestionAnswering.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.hidden_size == 32
    assert model.config.vocab_size == len(tokenizer)
    (folder / "witness").touch()
    assert shapes.checkpoint("small", to=tmp_path) == folder
    assert (folder / "witness").exists()
    again = shapes.checkpoint("small", to=tmp_path / "again")
    one, two = (load_file(path / "model.safetensors") for path in (folder, again))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_script_makes_those_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(shapes, "SHAPES", {"small": SMALL, "also-small": SMALL})
    for names, made in ((["small"], ["small"]), ([], ["small", "also-small"])):
        monkeypatch.setattr(sys, "argv", ["shapes.py", *names, "--to", str(tmp_path)])
        shapes.main()
        assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in made]
    assert all((tmp_path / name / "model.safetensors").is_file() for name in ("small", "also-small"))
    monkeypatch.setattr(sys, "argv", ["shapes.py", "bert-huge"])
    with pytest.raises(SystemExit, match="2"):
        shapes.main()
    assert "invalid choice: 'bert-huge'" in capsys.readouterr().err
