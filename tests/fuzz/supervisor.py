"""Target, time and seed -> findings: starts workers, watches them, and starts another where one died.

A worker that dies (abort, segmentation fault, its limit of CPU time) or says nothing for `WALL_S` is a finding,
with the input that it was at.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.worker import CPU_S

WALL_S = 180.0  # between two lines of a worker: waiting for something that never comes
DEATHS = 12  # of the workers of one target; then it is given up
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finding:
    """Something that must not happen, and an input that makes it happen."""

    target: str
    key: str  # what and where; equal for inputs that find the same
    detail: str
    data: bytes
    seed: str

    def save(self, folder: Path) -> Path:
        """Write the input, and the text beside it; return the path of the input."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.target}-{len(list(folder.glob(f'{self.target}-*.txt'))):02}"
        path = folder / f"{name}.input"
        path.write_bytes(self.data)
        again = f"python -m tests.fuzz --target {self.target} --input {path}"
        text = f"{self.key}\nseed {self.seed}\n{again}\n\n{self.detail}\n"
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
        return path


@dataclass
class Outcome:
    """What a target's workers did.

    Attributes:
        target: its name.
        executions: number of inputs.
        corpus: number of seeds and of inputs whose outcome was new.
        findings: by key.
        error: why the target could not be run; "" if it was.
    """

    target: str
    executions: int = 0
    corpus: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    error: str = ""


def fuzz(
    target: str,
    *,
    seconds: float,
    executions: int,
    seed: int,
    again: Path | None = None,
    cpu_s: float = CPU_S,
) -> Outcome:
    """Run a target for some time or number of inputs, whichever is over first.

    Args:
        target: its name, or "module:class".
        seconds: of time.
        executions: of inputs.
        seed: of all random choices; the inputs of a run with one seed are the same, until the time is over.
        again: one input to run instead.
        cpu_s: most seconds of CPU time of an input.
    """
    outcome = Outcome(target)
    stop = time.monotonic() + seconds
    for death in range(DEATHS):
        left = stop - time.monotonic()
        if left <= 0 or outcome.executions >= executions:
            break
        job = {
            "target": target,
            "seed": f"{seed}.{death}",
            "seconds": left,
            "executions": executions - outcome.executions,
            "cpu_s": cpu_s,
            "input": again and str(again.resolve()),
        }
        if _watch(outcome, job) or again:
            break
    return outcome


def _watch(outcome: Outcome, job: dict[str, Any]) -> bool:
    """Run one worker; return whether it came to its end, or could not even begin."""
    with tempfile.TemporaryDirectory(prefix="qa-onnx-fuzz-") as name, tempfile.TemporaryFile("w+") as log:
        folder = Path(name)
        command = [sys.executable, "-m", "tests.fuzz.worker", json.dumps({**job, "folder": name})]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "XDG_CACHE_HOME": name, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=_ROOT,
            env=environment,
            start_new_session=True,
        )
        try:
            last = _listen(process, outcome, job)
        finally:
            _kill(process)
        if last.get("done") or (job["input"] and process.returncode == 0):
            return True
        log.seek(0)
        said = log.read()[-3000:]
        if not (folder / "input").exists():
            outcome.error = said or f"the worker ended with {process.returncode}"
            return True
        outcome.executions += 1
        why = f"no end within {WALL_S:g} s" if "hung" in last else _why(process.returncode, job["cpu_s"])
        stack = (folder / "stack").read_text()
        key = f"{why}, in {_innermost(stack)}"
        _add(outcome, job, key, f"{stack}\n{said}", (folder / "input").read_bytes())
        return False


def _listen(process: subprocess.Popen[str], outcome: Outcome, job: dict[str, Any]) -> dict[str, Any]:
    """Read what a worker says until it ends or hangs; return its last line."""
    assert process.stdout is not None
    last: dict[str, Any] = {}
    before = outcome.executions
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(WALL_S):
                return {"hung": True}
            line = process.stdout.readline()
            if not line:
                process.wait()
                return last
            last = json.loads(line)
            if "finding" in last:
                found = last["finding"]
                _add(outcome, job, found["key"], found["detail"], bytes.fromhex(found["input"]))
            if "execution" in last:
                outcome.executions = before + last["execution"]
                outcome.corpus = max(outcome.corpus, last["corpus"])


def _add(outcome: Outcome, job: dict[str, Any], key: str, detail: str, data: bytes) -> None:
    outcome.findings.setdefault(key, Finding(outcome.target, key, detail, data, job["seed"]))


def _why(code: int, cpu_s: float) -> str:
    if code == -signal.SIGPROF:
        return f"more than {cpu_s:g} s of CPU time"
    return f"the process died: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def _innermost(stack: str) -> str:
    """The innermost line of this project in a stack that faulthandler wrote."""
    lines = [line.strip() for line in stack.splitlines() if str(_ROOT) in line]
    return lines[0].replace(str(_ROOT) + os.sep, "") if lines else "an unknown place"


def _kill(process: subprocess.Popen[str]) -> None:
    """End a worker and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
