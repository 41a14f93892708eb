"""Contenders run only when they are asked, and say why when they cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qa_onnx import EngineError
from qa_onnx.bench.contender import Contender

# Says how often it has counted up while waiting, which it can do only while it runs.
COUNTER = """
import json, sys, threading, time
count = 0
def go():
    global count
    while True:
        count += 1
        time.sleep(0.002)
threading.Thread(target=go, daemon=True).start()
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    print(json.dumps({"count": count, "asked": json.loads(line)}), flush=True)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def state(contender: Contender) -> str:
    """T where the process is stopped."""
    status = Path(f"/proc/{contender._process.pid}/stat").read_text(encoding="utf-8")
    return status.rpartition(")")[2].split()[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_it_stands_still_between_its_turns() -> None:
    with Contender("counter", python(COUNTER)) as contender:
        first = contender.ask({"a": 1})
        deadline = time.monotonic() + 5
        while state(contender) != "T" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert state(contender) == "T"
        time.sleep(0.3)  # a running one would count to 100 and more meanwhile
        second = contender.ask({"b": 2})
    assert first["asked"] == {"a": 1}
    assert second["asked"] == {"b": 2}
    assert second["count"] - first["count"] < 30
    assert contender._process.poll() is not None


def test_what_it_says_of_itself_is_raised() -> None:
    with pytest.raises(EngineError, match="no such thing here"):
        Contender("one", python('print(\'{"error": "no such thing here"}\')'))
    with pytest.raises(EngineError, match="one said what is no reply: 'Loading libgpu 3'"):
        Contender("one", python("print('Loading libgpu 3')"))


def test_an_end_is_noticed() -> None:
    with pytest.raises(EngineError, match="one ended with exit code 3: it said nothing; run its command by hand"):
        Contender("one", python("raise SystemExit(3)"))
    with pytest.raises(EngineError, match="one ended with exit code 1: KeyError: 'x'"):
        Contender("one", python("{}['x']"))
    once = python("import sys; print('{}', flush=True); sys.stdin.readline()")
    with Contender("one", once) as contender, pytest.raises(EngineError, match="one ended with exit code 0"):
        contender.ask({})


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity to set")
def test_it_runs_on_the_cpus_that_it_is_given() -> None:
    cpu = max(os.sched_getaffinity(0))
    affinity = 'import json, os; print(json.dumps({"cpus": list(os.sched_getaffinity(0))}), flush=True); input()'
    late = f"import time; time.sleep(0.3); {affinity}"  # it may say so before it was given any
    with Contender("one", python(late), cpus={cpu}) as contender:
        assert contender.facts == {"cpus": [cpu]}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_its_memory_at_the_peak_is_known() -> None:
    hog = "data = b'x' * 300_000_000; del data; print('{}', flush=True); input()"
    with Contender("hog", python(hog)) as contender:
        peak = contender.peak_bytes()
    assert peak is not None
    assert 250_000_000 < peak < 600_000_000
    assert contender.peak_bytes() is None  # it has gone


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_it_does_not_outlive_whoever_started_it() -> None:
    parent = """
import sys, time
from qa_onnx.bench.contender import Contender
contender = Contender("one", [sys.executable, "-c", "print('{}', flush=True); input()"])
print(contender.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 30
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


def alive(pid: int) -> bool:
    """Whether a process exists and is not merely unburied."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
