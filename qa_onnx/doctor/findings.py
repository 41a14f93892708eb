"""Does question answering work on this machine? Facts of machine, packages, bundle, and trials of every engine.

    examine: bundle, what was asked for -> Findings
    diagnosis.diagnose: Findings -> problems and notes, each with its remedy

Nothing of an engine is imported here: a trial runs in a process of its own, which may break. How it is run is
handed in (trial.py); how findings are shown is the command's part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.bundle.folder import MANIFEST, Bundle, default_bundle
from qa_onnx.engines.names import BACKENDS, Backend, why_not
from qa_onnx.errors import BundleError, EngineError, QaOnnxError
from qa_onnx.machine import cpu, nvidia, packages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qa_onnx.evaluation.golden import GoldenCheck
    from qa_onnx.machine.cpu import Cores, Memory
    from qa_onnx.machine.packages import Installed

DEFAULT_BACKEND = "onnxruntime/cpu"

# They set the threads of other programs. ONNX Runtime's wheels have been built without OpenMP since 1.7; since
# 1.32 it reads the second where a session does not say how many threads it wants, and ours say.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "ORT_INTRA_OP_NUM_THREADS")

UNFIT = "unfit CPU"  # the kind of a trial that was not made, since the CPU cannot compute in the precision

_SECONDS = 5.0  # of timing, for all trials together


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A trial to run.

    Attributes:
        backend: "engine/device".
        bundle: its folder.
        precision: of the bundle; None: it has none for this backend, so a graph of one operator shows whether the
            engine starts.
        seconds: to spend on timing.
    """

    backend: str
    bundle: Path
    precision: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of a job.

    Attributes:
        backend: as in the job.
        precision: as in the job.
        error: why it failed; None: it ran.
        kind: name of the error's class; "crash" or "timeout" where the process said nothing; `UNFIT`.
        log: the first error of ONNX Runtime's log; of a process that died, the last line on stderr.
        golden: of the precision; None where it was not reached.
        questions_per_second: text to answer; None likewise.
        right: how many of the questions were answered right.
        questions: how many were asked.
    """

    backend: str
    precision: str | None
    error: str | None = None
    kind: str | None = None
    log: str = ""
    golden: GoldenCheck | None = None
    questions_per_second: float | None = None
    right: int = 0
    questions: int = 0

    @property
    def reason(self) -> str:
        """Why it failed, in one line: off the CPU the log knows what the error can only guess."""
        known = " ".join((self.error or "").split())
        if not self.log or self.log in known:
            return known
        return (
            self.log
            if self.kind == "EngineError" and not self.backend.endswith("/cpu")
            else f"{known} ({self.log})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleState:
    """A bundle as it was found.

    Attributes:
        path: its folder.
        is_default: whether it is the one that comes with the package.
        bundle: None where it cannot be loaded.
        error: why not.
        sha256: of its manifest; None where there is none.
        damaged: what is wrong with its files; empty where every hash is right.
    """

    path: Path
    is_default: bool
    bundle: Bundle | None = None
    error: str | None = None
    sha256: str | None = None
    damaged: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it can be read from."""
        return self.bundle is not None and not self.damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that was found.

    Attributes:
        asked: backends that must work, the default one first.
        precision: that must work at the last of these; None: the bundle's best.
        packages: what is installed.
        cpu: the CPU's name.
        instruction_sets: see `cpu.instruction_sets`.
        cores: what bounds the threads.
        load: of the machine before the trials, see `machine.load`.
        memory: of the machine.
        environment: those of `THREAD_VARIABLES` that are set.
        gpu: what there is of NVIDIA.
        bundle: as it was found.
        trials: of every backend, best precision first, those for which the CPU is unfit last.
    """

    asked: tuple[str, ...]
    precision: str | None
    packages: Installed
    cpu: str
    instruction_sets: tuple[str, ...]
    cores: Cores
    load: float | None
    memory: Memory
    environment: dict[str, str]
    gpu: nvidia.Nvidia
    bundle: BundleState
    trials: tuple[Trial, ...]

    @property
    def exact_int8(self) -> bool:
        """Whether the CPU sums products of bytes exactly at full speed."""
        return cpu.exact_int8(self.instruction_sets)

    def at(self, backend: str) -> tuple[Trial, ...]:
        """The trials of a backend, in their order."""
        return tuple(trial for trial in self.trials if trial.backend == backend)


def examine(
    bundle: Path | None,
    *,
    run: Callable[[Job], Trial],
    engine: str = "onnxruntime",
    device: str = "cpu",
    precision: str | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> Findings:
    """Look at everything; what is broken becomes a finding, not an error.

    Args:
        bundle: its folder; None: the default one.
        run: runs a job.
        engine: that was asked for.
        device: that was asked for.
        precision: that was asked for, in that engine on that device.
        progress: is told what is done next.
    """
    progress("looking at packages, machine and bundle")
    state = look_at(bundle)
    load = cpu.load()
    trials = _try(plan(state), run, progress)
    return Findings(
        asked=tuple(dict.fromkeys((DEFAULT_BACKEND, f"{engine}/{device}"))),
        precision=precision,
        packages=packages.survey(),
        cpu=cpu.cpu_model(),
        instruction_sets=cpu.instruction_sets(),
        cores=cpu.cores(),
        load=load,
        memory=cpu.memory(),
        environment={name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        gpu=nvidia.survey(),
        bundle=state,
        trials=trials,
    )


def _try(
    jobs: tuple[Job, ...], run: Callable[[Job], Trial], progress: Callable[[str], object]
) -> tuple[Trial, ...]:
    """Run the jobs. Where a precision fails, one operator tells whether the engine or the graph is to blame."""
    trials: list[Trial] = []
    dead: set[str] = set()
    for job in jobs:
        if job.backend in dead:
            continue
        reason = job.precision and why_not(job.precision)
        if reason:
            trials.append(Trial(backend=job.backend, precision=job.precision, error=reason, kind=UNFIT))
            continue
        progress(f"trying {job.precision or 'one operator'} in {job.backend}")
        trial = run(job)
        if trial.error is not None:
            if job.precision is None or trial.kind == "MissingExtraError":
                probe = dataclasses.replace(trial, precision=None)
            else:
                probe = run(dataclasses.replace(job, precision=None))
            if probe.error is not None:
                dead.add(job.backend)
                trial = probe
        trials.append(trial)
    return tuple(trials)


def look_at(path: Path | None) -> BundleState:
    """Read a bundle's manifest and check the hash of every file."""
    folder = default_bundle() if path is None else path
    is_default = path is None
    try:
        sha256 = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        sha256 = None
    try:
        bundle = Bundle.load(folder)
    except (QaOnnxError, OSError) as error:
        return BundleState(path=folder, is_default=is_default, error=str(error), sha256=sha256)
    damaged = []
    for entry in bundle.manifest.files():
        try:
            bundle.checked_path(entry)
        except (BundleError, OSError) as error:
            damaged.append(str(error))
    return BundleState(path=folder, is_default=is_default, bundle=bundle, sha256=sha256, damaged=tuple(damaged))


def plan(state: BundleState) -> tuple[Job, ...]:
    """A job for each precision at each backend where it runs; of a backend without any, whether it starts."""
    wanted: list[tuple[str, str | None]] = []
    timed = 0
    for backend in map(str, BACKENDS):
        names = precisions(state.bundle, backend) if state.whole else ()
        fit = tuple(name for name in names if not why_not(name))
        timed += len(fit)
        wanted += [(backend, name) for name in fit or (None,)]
        wanted += [(backend, name) for name in names if name not in fit]
    seconds = min(0.8, _SECONDS / max(1, timed))
    return tuple(
        Job(backend=backend, bundle=state.path, precision=precision, seconds=seconds)
        for backend, precision in wanted
    )


def precisions(bundle: Bundle | None, backend: str) -> tuple[str, ...]:
    """The bundle's precisions for a backend, best first."""
    if bundle is None:
        return ()
    graphs = bundle.manifest.graphs
    names = tuple(
        name for name in Backend.parse(backend).precisions if name in graphs and backend in graphs[name].engines
    )
    try:
        best = bundle.best_precision(Backend.parse(backend))
    except EngineError:
        return names
    return tuple(dict.fromkeys((best, *names)))
