"""`qa-onnx inspect`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from qa_onnx.cli import main
from qa_onnx.engines.names import PRECISIONS
from tests.conftest import TINY, edit_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Bundle

pytestmark = pytest.mark.cpu


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "--json"]])
def test_escapes_in_a_name_of_the_manifest_do_not_reach_the_terminal(tiny_copy: Path, command: list[str]) -> None:
    name = "x\x1b[31m\x07\u202egnp\x9b"
    edit_manifest(tiny_copy, lambda content: content["source"].update(name=name))
    result = CliRunner().invoke(main, [*command, "-b", str(tiny_copy)])
    assert result.exit_code == 0
    assert not any(character in result.output for character in "\x1b\x07\u202e\x9b")


def test_it_says_first_what_the_bundle_is_and_shows_no_details() -> None:
    result = inspect("-b", TINY)
    assert result.stdout.startswith("tiny-bert (fp32 and int8, 0.2 MB), made 2026-11-24")
    assert re.search(r"^int8 +0\.1 +- +- +97\.8%  onnxruntime/cpu$", result.stdout, re.MULTILINE)
    assert "F1 was not measured" in result.stdout
    assert "SHA-256" not in result.stdout


def test_verbose_shows_everything_that_the_manifest_says(tiny_bundle: Bundle) -> None:
    result = inspect("-b", TINY, "-v")
    assert result.exit_code == 0
    manifest = tiny_bundle.manifest
    for said in (
        *(entry.sha256 for entry in manifest.files()),
        *(entry.name for entry in manifest.files()),
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
    assert max(map(len, result.stdout.splitlines())) <= 100


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
    shown = inspect("-b", TINY, "--verify").stdout
    assert shown.startswith("tiny-bert (fp32 and int8, 0.2 MB) is whole and answers here as at export.\n")
    assert re.search(
        r"^fp32 +answers as at export \(largest difference of a logit \S+, limit 0.001\)", shown, re.M
    )


def test_verify_finds_a_changed_file(tiny_copy: Path) -> None:
    graph = next(tiny_copy.glob("model-*.onnx"))
    content = bytearray(graph.read_bytes())
    content[-100] ^= 1
    graph.write_bytes(content)
    assert inspect("-b", tiny_copy).exit_code == 0  # sizes alone
    result = inspect("-b", tiny_copy, "--verify")
    assert result.exit_code == 1
    assert result.stdout.startswith("tiny-bert (fp32 and int8, 0.2 MB) is damaged, and was not run.")
    assert "was changed or damaged" in result.stdout
    assert "changed or damaged" in result.stderr


def test_verify_finds_a_machine_that_computes_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRECISIONS, "int8", replace(PRECISIONS["int8"], tolerance=-1.0))
    result = inspect("-b", TINY, "--verify")
    assert result.exit_code == 1
    assert "is whole, but int8 does not answer here as at export." in result.stdout
    assert "does not give the same results here as at export" in result.stderr


def test_the_default_bundle_is_whole() -> None:
    result = inspect("--verify")
    assert result.exit_code == 0, result.output
    assert "minilm-squad" in result.stdout


@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_weights_beside_a_graph_count_as_its_size(tiny_copy: Path, verbose: list[str]) -> None:
    name = f"weights-{0:016x}.data"
    (tiny_copy / name).write_bytes(bytes(5_000_000))
    entry = {"name": name, "size": 5_000_000, "sha256": "0" * 64}
    edit_manifest(tiny_copy, lambda content: content["graphs"]["fp32"].update(data=entry))
    found = inspect("-b", tiny_copy, *verbose).stdout
    assert re.findall(r"^fp32 +(\d+\.\d) ", found, re.MULTILINE) == ["5.1"] * (1 + len(verbose))
