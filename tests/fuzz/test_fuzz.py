"""The fuzzer: it finds what it is for, its inputs repeat, and a short run over every target finds nothing."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.mutation import LONGEST, change_bytes, change_json, change_lines, change_message
from tests.fuzz.supervisor import fuzz
from tests.fuzz.targets import TARGETS, TINY

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
HARMFUL = "tests.fuzz.harmful:Harmful"
EXECUTIONS = 50
EXTRAS = {
    **dict.fromkeys(("signature", "key"), "cryptography"),
    **dict.fromkeys(("safetensors", "index", "config"), "optimum"),
    **dict.fromkeys(("http", "body", "tensors"), "uvicorn"),
    "parquet": "pyarrow",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_finds_nothing(name: str) -> None:
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    outcome = fuzz(name, seconds=600, executions=EXECUTIONS, seed=1)
    assert outcome.error == ""
    assert {key: finding.detail for key, finding in outcome.findings.items()} == {}
    assert outcome.executions == EXECUTIONS
    assert outcome.corpus > 1, "each input had the same outcome: they do not reach far"


@pytest.mark.parametrize(
    ("change", "seed"),
    [
        (change_bytes, b"The boat is blue."),
        (change_json, (TINY / "bundle.json").read_bytes()),
        (change_lines, b'{"a": 1}\n{"b": [2, null]}'),
        (change_message, next(TINY.glob("model-*.onnx")).read_bytes()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_seed_gives_the_same_inputs_again(change: Callable[[random.Random, bytes], bytes], seed: bytes) -> None:
    def inputs() -> list[bytes]:
        rng = random.Random(5)
        return [change(rng, seed) for _ in range(60)]

    made = inputs()
    assert made == inputs()
    assert len(set(made)) > 30
    assert max(map(len, made)) <= LONGEST + 200_000


@pytest.mark.parametrize(
    ("harm", "key"),
    [
        ("none", ""),
        ("refusal", ""),
        ("error", "KeyError at tests/fuzz/harmful.py"),
        ("panic", "PanicError at tests/fuzz/harmful.py"),
        ("promise", "it is so"),
        ("length", "its message is too long, at InputError at tests/fuzz/harmful.py"),
        ("escape", "its message has escapes, at InputError at tests/fuzz/harmful.py"),
        ("memory", "MemoryError at tests/fuzz/harmful.py"),
        ("crash", 'the process died: SIGSEGV, in File "tests/fuzz/harmful.py"'),
        ("abort", 'the process died: SIGABRT, in File "tests/fuzz/harmful.py"'),
        ("exit", "the process died: exit code 3, in an unknown place"),
        ("loop", 'more than 0.5 s of CPU time, in File "tests/fuzz/harmful.py"'),
    ],
)
def test_each_kind_of_harm_is_a_finding(tmp_path: Path, harm: str, key: str) -> None:
    (tmp_path / "input").write_text(harm)
    outcome = fuzz(HARMFUL, seconds=600, executions=1, seed=0, again=tmp_path / "input", cpu_s=0.5)
    assert outcome.error == ""
    assert [found[: len(key)] for found in outcome.findings] == [key] * bool(key)


@pytest.mark.slow
def test_a_run_goes_on_after_a_death_and_saves_each_finding_once(tmp_path: Path) -> None:
    outcome = fuzz(HARMFUL, seconds=600, executions=100, seed=0, cpu_s=0.5)
    assert len(outcome.findings) >= 8
    for finding in outcome.findings.values():
        path = finding.save(tmp_path)
        again = fuzz(HARMFUL, seconds=600, executions=1, seed=0, again=path, cpu_s=0.5)
        assert list(again.findings) == [finding.key]


def test_the_command_prints_counts_and_its_exit_code_tells(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--target",
        "options",
        "--executions",
        "20",
        "--to",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^options +20 +\d+ +0$", done.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []
