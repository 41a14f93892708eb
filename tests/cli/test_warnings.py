"""What the library warns of, at the command line: one plain line on stderr, once, whatever filters Python has."""

from __future__ import annotations

import subprocess
import sys
import warnings

import click
import pytest
from click.testing import CliRunner

from qa_onnx import DeviceError, cli
from qa_onnx.bundle import runtime
from qa_onnx.cli import main
from tests.conftest import TINY

ASK = ["ask", "-b", str(TINY), "-q", "Where?", "--context", "At dusk.", "--device", "cuda", "--allow-fallback"]
LINE = (
    "warning: onnxruntime/cuda cannot be used, int8 on the CPU takes over: no NVIDIA driver is found: install it\n"
)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_usable(place: str) -> None:
        raise DeviceError("no NVIDIA driver is found:\n  install it")

    monkeypatch.setattr(runtime, "check_usable", check_usable)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("action", ["error", "ignore", "default"])
def test_falling_back_is_one_line_and_no_failure(action: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(action)  # type: ignore[arg-type]
        before = list(warnings.filters), warnings.showwarning
        result = CliRunner().invoke(main, [*ASK, "--json"])
        assert (list(warnings.filters), warnings.showwarning) == before
    assert result.exit_code == 0
    assert result.stderr == LINE
    assert result.stdout.startswith("{")


@pytest.mark.usefixtures("no_gpu")
def test_without_the_flag_it_is_an_error() -> None:
    result = CliRunner().invoke(main, [*ASK[:-1], "--precision", "fp32"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


@click.command()
def talkative() -> None:
    """Warns in many ways."""
    for _ in range(3):
        warnings.warn_explicit("ours", RuntimeWarning, f"{cli._PACKAGE}/reader.py", 7, module="qa_onnx.reader")
    warnings.warn_explicit("ours too", RuntimeWarning, f"{cli._PACKAGE}/cli/ask.py", 7, module="qa_onnx.cli.ask")
    warnings.warn("another's", UserWarning, stacklevel=1)
    warnings.warn_explicit("another package's", RuntimeWarning, "/site-packages/other.py", 7, module="other")


def test_each_is_said_once_and_those_of_others_as_python_says_them() -> None:
    with warnings.catch_warnings(record=True) as others, cli._warnings_on_stderr():
        warnings.simplefilter("always")
        result = CliRunner().invoke(talkative)
    assert result.stderr == "warning: ours\nwarning: ours too\n"
    assert [str(warning.message) for warning in others] == ["another's", "another package's"]


def test_a_fresh_process_prints_no_line_of_source() -> None:
    done = subprocess.run([sys.executable, "-m", "qa_onnx", *ASK], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: onnxruntime/cuda cannot be used, int8 on the CPU takes over: ")
    assert done.stderr.count("\n") == 1
    assert ".py" not in done.stderr
