"""`qa-onnx inspect`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from qa_onnx.cli import main
from qa_onnx.engines.names import PRECISIONS
from tests.conftest import TINY

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Bundle

pytestmark = pytest.mark.cpu


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def test_it_shows_everything_that_the_manifest_says(tiny_bundle: Bundle) -> None:
    result = inspect("-b", TINY)
    assert result.exit_code == 0
    manifest = tiny_bundle.manifest
    for entry in manifest.files():
        assert entry.sha256 in result.stdout
        assert entry.name in result.stdout
    for said in (
        manifest.source.sha256,
        "checkpoint tiny-bert",
        "bert, 2 layers, 2 heads",
        "64 tokens by default, 128 at most",
        "input_ids, attention_mask, token_type_ids",
        "2 Attention",
        "onnxruntime/cuda",
        "100.0%",
    ):
        assert said in result.stdout


def test_json_is_the_manifest() -> None:
    content = json.loads(inspect("-b", TINY, "--json").stdout)
    assert content.pop("path") == str(TINY)
    assert content.pop("profile") is None  # of this machine, not in the manifest
    assert content == json.loads((TINY / "bundle.json").read_text())


def test_verify_runs_the_golden_examples() -> None:
    result = inspect("-b", TINY, "--verify", "--json")
    assert result.exit_code == 0
    checks = json.loads(result.stdout)["verify"]
    assert list(checks) == ["hashes", "fp32", "int8"]
    assert all(check["passed"] for check in checks.values())
    assert "verify fp32" in inspect("-b", TINY, "--verify").stdout


def test_verify_finds_a_changed_file(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "bundle")
    graph = next(folder.glob("model-*.onnx"))
    content = bytearray(graph.read_bytes())
    content[-100] ^= 1
    graph.write_bytes(content)
    assert inspect("-b", folder).exit_code == 0  # sizes alone
    result = inspect("-b", folder, "--verify")
    assert result.exit_code == 1
    assert "was changed or damaged" in result.stdout
    checks = json.loads(inspect("-b", folder, "--verify", "--json").stdout)["verify"]
    assert not checks["hashes"]["passed"]


def test_verify_finds_a_machine_that_computes_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRECISIONS, "int8", replace(PRECISIONS["int8"], tolerance=-1.0))
    result = inspect("-b", TINY, "--verify")
    assert result.exit_code == 1
    assert "does not give the same results here as at export" in result.stderr


def test_the_default_bundle_is_whole() -> None:
    result = inspect("--verify")
    assert result.exit_code == 0, result.output
    assert "minilm-squad" in result.stdout
