"""Contenders run only when they are asked, and say why when they cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qa_onnx import EngineError
from qa_onnx.bench.process import ContenderProcess
from tests.waiting import eventually, state_of

ECHO = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    print(json.dumps({"asked": json.loads(line)}), flush=True)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_it_stands_still_between_its_turns() -> None:
    def stands_still() -> bool:
        return state_of(process.pid) == "T"

    with ContenderProcess("echo", python(ECHO)) as process:
        for request in ({"a": 1}, {"b": 2}):
            eventually(stands_still, "it is stopped")
            assert process.ask(request)["asked"] == request
        eventually(stands_still, "it is stopped")
    assert state_of(process.pid) in {"Z", ""}  # it has ended


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('print(\'{"error": "no such thing here"}\')', "no such thing here"),
        ("print('Loading libgpu 3')", "one sent an invalid reply: 'Loading libgpu 3'"),
        ("raise SystemExit(3)", "one ended with exit code 3: it printed nothing; run its command by hand"),
        ("{}['x']", "one ended with exit code 1: KeyError: 'x'"),
        ("import sys; print('{}', flush=True); sys.stdin.readline()", "one ended with exit code 0"),
    ],
)
def test_what_went_wrong_is_raised(code: str, message: str) -> None:
    with pytest.raises(EngineError, match=message), ContenderProcess("one", python(code)) as process:
        process.ask({})


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity to set")
def test_it_runs_on_the_cpus_that_it_is_given() -> None:
    cpu = max(os.sched_getaffinity(0))
    affinity = 'import json, os; print(json.dumps({"cpus": list(os.sched_getaffinity(0))}), flush=True); input()'
    # A process says what it has when it is asked: before it is ready, it may not have been given any yet.
    code = f"print('{{}}', flush=True); input(); {affinity}"
    with ContenderProcess("one", python(code), cpus={cpu}) as process:
        assert process.ask({}) == {"cpus": [cpu]}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_its_memory_at_the_peak_is_known() -> None:
    hog = "data = b'x' * 300_000_000; del data; print('{}', flush=True); input()"
    with ContenderProcess("hog", python(hog)) as process:
        peak = process.peak_bytes()
    assert peak is not None
    assert 250_000_000 < peak < 600_000_000
    assert process.peak_bytes() is None  # it has gone


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_it_does_not_outlive_whoever_started_it() -> None:
    parent = """
import sys, time
from qa_onnx.bench.process import ContenderProcess
process = ContenderProcess("one", [sys.executable, "-c", "print('{}', flush=True); input()"])
print(process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.kill()
    eventually(lambda: state_of(child) in {"Z", ""}, "the process has ended")
