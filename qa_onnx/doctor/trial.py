"""Run one precision in one engine: does it start, does it compute correctly, how fast is it.

    Job --run--> child process: load, golden check, a dozen questions --> Trial

Each job runs in a process of its own, because the idle threads of one session spin and slow down the next one, and
because a broken engine crashes its process.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qa_onnx import Bundle, EngineError, Example, QaOnnxError, Reader
from qa_onnx.engines.names import Backend
from qa_onnx.engines.sessions import open_session
from qa_onnx.evaluation import golden, metrics
from qa_onnx.evaluation.golden import GoldenCheck
from qa_onnx.evaluation.sample_questions import ITEMS

UNFIT = "unfit CPU"  # the kind of a trial that was not run, because the CPU cannot compute in the precision

# The child finds packages where its parent does, and nothing that happens to lie in the working directory.
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from qa_onnx.doctor.trial import main; main()"
_LIMIT = 180  # seconds; large models need some to load and to compile
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

# start_logits and end_logits are input_ids, cast to float32: IR 10, opset 17.
PROBE = base64.b64decode(
    "CAo6vgEKKgoJaW5wdXRfaWRzEgxzdGFydF9sb2dpdHMiBENhc3QqCQoCdG8YAaABAgooCglpbnB1dF9pZHMSCmVuZF9sb2dp"
    "dHMiBENhc3QqCQoCdG8YAaABAhIFcHJvYmVaHQoJaW5wdXRfaWRzEhAKDggHEgoKAxIBQgoDEgFUYiAKDHN0YXJ0X2xvZ2l0"
    "cxIQCg4IARIKCgMSAUIKAxIBVGIeCgplbmRfbG9naXRzEhAKDggBEgoKAxIBQgoDEgFUQgQKABAR"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A trial to run."""

    backend: str  # "engine/device"
    bundle: Path
    precision: str | None  # None: only start the engine, with a graph of one operator
    seconds: float  # for measuring the speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The result of a job."""

    backend: str
    precision: str | None
    error: str | None = None  # why it failed, without the remedy; None: it ran
    remedy: str = ""  # that the error names, if any
    kind: str | None = None  # class name of the error, or "crash", "timeout", `UNFIT`
    log: str = ""  # first error in ONNX Runtime's log; of a process that died, the last line on stderr
    golden: GoldenCheck | None = None
    questions_per_second: float | None = None
    right: int = 0  # questions that were answered correctly
    questions: int = 0

    @property
    def problem(self) -> str:
        """Why it failed, in one line. On a GPU the log names the cause that the error can only guess."""
        error = " ".join((self.error or "").split())
        if not self.log or self.log in error:
            return error
        if self.kind == "EngineError" and not self.backend.endswith("/cpu"):
            return self.log
        return f"{error} ({self.log})"

    @property
    def reason(self) -> str:
        """The problem and the remedy of the error; only the log if that replaces the error."""
        problem = self.problem
        return f"{problem}: {self.remedy}" if self.remedy and problem != self.log else problem


def run(job: Job) -> Trial:
    """Run a job in a child process; whatever happens to the child becomes the trial's error."""
    failed = Trial(backend=job.backend, precision=job.precision)
    content = json.dumps({**dataclasses.asdict(job), "bundle": str(job.bundle)})
    command = [sys.executable, "-P", "-c", _CHILD, json.dumps(sys.path), content]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return dataclasses.replace(failed, error=f"it did not end within {_LIMIT} s", kind="timeout")
    except OSError as error:
        return dataclasses.replace(failed, error=f"Python cannot be started: {error}", kind="crash")
    lines = [_COLOURS.sub("", line).strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.rpartition(" : FAIL : ")[2] for line in lines if "[E:onnxruntime" in line]
    try:
        result = json.loads(done.stdout)
    except ValueError:
        log = [*errors, *lines[-1:], ""][0]
        return dataclasses.replace(failed, error=_death(done.returncode), kind="crash", log=log)
    check = result.pop("golden", None)
    return dataclasses.replace(
        failed,
        log=errors[0] if errors else "",
        golden=None if check is None else GoldenCheck(**check),
        **result,
    )


def _death(code: int) -> str:
    if code >= 0:
        return f"the process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = ", most likely by the system, which ran out of memory" if name == "SIGKILL" else ""
    return f"the process was ended by {name}{why}"


def main() -> None:
    """Run the job in argv and print its result as JSON; the main function of the child process."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what engines print must not mix with the result
    content = json.loads(sys.argv[2])
    job = Job(**{**content, "bundle": Path(content["bundle"])})
    result: dict[str, Any]
    try:
        result = start(job.backend) if job.precision is None else measure(job, job.precision)
    except QaOnnxError as error:
        result = {"error": error.problem, "remedy": error.remedy, "kind": type(error).__name__}
    except Exception as error:  # noqa: BLE001  # a broken engine may raise anything
        result = {"error": str(error) or repr(error), "kind": type(error).__name__}
    json.dump(result, out)
    out.flush()


def start(backend: str) -> dict[str, Any]:
    """Start an engine and run one operator in it.

    Raises:
        EngineError: the engine returns wrong numbers.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        path.write_bytes(PROBE)
        session = open_session(path, backend=Backend.parse(backend), inputs=("input_ids",), longest=512)
        ids = np.arange(16, dtype=np.int64).reshape(2, 8)
        logits = session.run({"input_ids": ids})
    if not all(np.array_equal(output, ids) for output in logits):
        raise EngineError(f"{backend} computes wrongly: {ids.tolist()} became {logits[0].tolist()}")
    return {}


def measure(job: Job, precision: str) -> dict[str, Any]:
    """Load a precision, compare it with its golden file, ask the questions, and ask them again to time them."""
    backend = Backend.parse(job.backend)
    bundle = Bundle.load(job.bundle)
    reader = Reader.load(bundle, precision=precision, engine=backend.engine, device=backend.device)
    check = golden.check(reader, bundle.text(bundle.graph_for(precision, backend).golden), precision)
    examples = [Example(item.question, item.context) for item in ITEMS]
    options = dataclasses.replace(reader.options, n_best=1, null_threshold=None)
    predictions = reader.predict(examples, options=options)
    answers = [reader.choose(prediction, options=options).text for prediction in predictions]
    passes: list[float] = []
    began = time.perf_counter()
    while not passes or time.perf_counter() - began < job.seconds:
        started = time.perf_counter()
        reader.predict(examples, options=options)
        passes.append(time.perf_counter() - started)
    right = sum(metrics.exact_match(text, item.answers) for text, item in zip(answers, ITEMS, strict=True))
    return {
        "golden": dataclasses.asdict(check),
        "questions_per_second": len(ITEMS) / statistics.median(passes),
        "right": int(right),
        "questions": len(ITEMS),
    }
