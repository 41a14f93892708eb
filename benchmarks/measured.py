"""A stored measurement of service times: what service_times.py writes, and the plans are computed from.

service_times.py --> ServiceTimes --> results/service-times.json --> simulate_queue.py, scaling.py
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from environments import ROOT

from qa_onnx.errors import InputError
from qa_onnx.machine.files import os_errors

if TYPE_CHECKING:
    from pathlib import Path

STORED = ROOT / "benchmarks" / "results" / "service-times.json"
_MANY = {"single", "batch"}  # fields with an object a line


@dataclass(frozen=True, kw_only=True)
class Single:
    """Times of one question after another on texts of one length, text to answer.

    Attributes:
        threads: of the reader, which had as many cores.
        words: of each text.
        characters: of a text with its question, mean.
        tokens: of all windows of a text, mean.
        windows: of a text, mean.
        median_ms: median of `milliseconds`.
        milliseconds: of each call; no text was asked about twice, and caches of texts were empty.
    """

    threads: int
    words: int
    characters: float
    tokens: float
    windows: float
    median_ms: float
    milliseconds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Throughput of many questions in a call on texts of one length, one thread on one core.

    Attributes:
        words: of each text.
        questions: of a call.
        core_seconds: CPU seconds of each call.
        seconds: of each call by the clock; more than `core_seconds` where other programs had the core.
        per_core_second: questions a core-second, median over the calls.
    """

    words: int
    questions: int
    core_seconds: tuple[float, ...]
    seconds: tuple[float, ...]
    per_core_second: float


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a process with one reader of one thread takes; medians over fresh processes.

    Attributes:
        import_s: seconds of `import qa_onnx`.
        load_s: seconds of `Reader.load`; the files are in the system's cache.
        first_s: seconds of the first answer.
        loaded_mb: resident megabytes once it is loaded.
        peak_mb: peak of the resident megabytes after all calls of `Single` and `Batch`.
    """

    import_s: float
    load_s: float
    first_s: float
    loaded_mb: float
    peak_mb: float


@dataclass(frozen=True, kw_only=True)
class Size:
    """What must be on a node before it answers, in bytes.

    Attributes:
        bundle: of all files that its manifest names.
        graph: of the graph that ran.
        packages: of the packages that pip installs; None: unknown.
    """

    bundle: int
    graph: int
    packages: int | None


@dataclass(frozen=True, kw_only=True)
class ServiceTimes:
    """Service times of one bundle on one machine.

    Attributes:
        command: repeats the measurement.
        created: UTC, ISO 8601.
        commit: of the project, if known.
        machine: see `qa_onnx.bench.record.record`.
        noise: what disturbed the measurement, in words.
        bundle: its name.
        precision: of the graph.
        backend: engine and device.
        size: of what a node must have.
        start: of one process.
        single: by threads and words.
        batch: by words.
    """

    command: str
    created: str
    commit: str | None
    machine: dict[str, Any]
    noise: tuple[str, ...]
    bundle: str
    precision: str
    backend: str
    size: Size
    start: Start
    single: tuple[Single, ...]
    batch: tuple[Batch, ...]

    def of(self, threads: int) -> dict[int, Single]:
        """Return the single calls with so many threads, by words.

        Raises:
            InputError: nothing was measured with so many threads.
        """
        found = {one.words: one for one in self.single if one.threads == threads}
        if not found:
            known = sorted({one.threads for one in self.single})
            raise InputError(f"no service times with {threads} threads: the measurement has those with {known}")
        return found


def to_json(times: ServiceTimes) -> str:
    """Return the measurement as JSON, a line for each length."""
    fields = []
    for name, value in msgspec.to_builtins(times).items():
        lines = [json.dumps(one) for one in value] if name in _MANY else []
        text = "[\n  " + ",\n  ".join(lines) + "\n ]" if lines else json.dumps(value)
        fields.append(f' "{name}": {text}')
    return "{\n" + ",\n".join(fields) + "\n}\n"


def read(path: Path) -> ServiceTimes:
    """Read a stored measurement.

    Raises:
        InputError: the file cannot be read, or is no such measurement.
    """
    with os_errors(InputError, f"cannot read {path}", remedy="make it with benchmarks/service_times.py"):
        content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=ServiceTimes)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{path} is no measurement of service times: {error}",
            remedy="make one with benchmarks/service_times.py --out",
        ) from error
