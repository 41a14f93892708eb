"""Random models of given shapes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import shapes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.export
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


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
