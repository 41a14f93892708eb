"""Collect what matters for question answering on this machine.

    examine: bundle, requested backend -> Findings: machine, packages, bundle, a trial of every engine
    diagnosis.diagnose: Findings -> problems and notes, each with its remedy

Left out: running an engine, which may break (trial.py), and showing the findings (cli).
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.bundle.files import manifest_sha256
from qa_onnx.bundle.folder import Bundle, default_bundle
from qa_onnx.doctor import trial as trials
from qa_onnx.doctor.trial import UNFIT, Job, Trial
from qa_onnx.engines.names import BACKENDS, missing_instructions
from qa_onnx.errors import BundleError, QaOnnxError
from qa_onnx.machine import cpu, nvidia, packages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qa_onnx.machine.cpu import Cores, Memory
    from qa_onnx.machine.packages import Installed

DEFAULT_BACKEND = "onnxruntime/cpu"

# They set the threads of other programs. ONNX Runtime's wheels have been built without OpenMP since 1.7; since
# 1.32 it reads the second where a session does not say how many threads it wants, and ours say.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "ORT_INTRA_OP_NUM_THREADS")

_SECONDS = 5.0  # of timing, for all trials together


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleState:
    """The state of a bundle's folder."""

    path: Path
    is_default: bool  # it is the bundle that comes with the package
    bundle: Bundle | None = None  # None: it cannot be loaded
    error: str | None = None  # why not
    sha256: str | None = None  # of its manifest; None: there is none
    damaged: tuple[str, ...] = ()  # a line for each file that is missing or changed

    @property
    def whole(self) -> bool:
        """True if the bundle can be used."""
        return self.bundle is not None and not self.damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that the doctor looks at."""

    requested: tuple[str, ...]  # backends that must work, the default one first; the last may not exist
    precision: str | None  # that must work on the last of these; None: the bundle's best
    packages: Installed
    cpu: str
    instruction_sets: tuple[str, ...]
    cores: Cores
    load: float | None  # before the trials
    memory: Memory
    environment: dict[str, str]  # the `THREAD_VARIABLES` that are set
    gpu: nvidia.Nvidia
    bundle: BundleState
    trials: tuple[Trial, ...]  # of every backend, best precision first, those that the CPU cannot run last

    @property
    def exact_int8(self) -> bool:
        """True if the CPU sums products of bytes exactly at full speed."""
        return cpu.exact_int8(self.instruction_sets)

    def at(self, backend: str) -> tuple[Trial, ...]:
        """Return the trials of a backend, in their order."""
        return tuple(trial for trial in self.trials if trial.backend == backend)


def examine(
    bundle: Path | None,
    *,
    engine: str = "onnxruntime",
    device: str = "cpu",
    precision: str | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> Findings:
    """Examine the machine, the packages and a bundle; whatever is broken becomes a finding, not an error.

    Args:
        bundle: folder of the bundle; None: the default one.
        engine: engine, device and precision are those that must work; precision None: the best.
        device: see engine.
        precision: see engine.
        progress: is called with a line before each step.
    """
    progress("looking at packages, machine and bundle")
    state = look_at(bundle)
    load = cpu.load()  # before the trials
    return Findings(
        requested=tuple(dict.fromkeys((DEFAULT_BACKEND, f"{engine}/{device}"))),
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
        trials=_run(plan(state), progress),
    )


def _run(jobs: tuple[Job, ...], progress: Callable[[str], object]) -> tuple[Trial, ...]:
    """Run the jobs. If a precision fails, one operator tells whether the engine or the graph is broken."""
    done: list[Trial] = []
    dead: set[str] = set()
    for job in jobs:
        if job.backend in dead:
            continue
        reason = job.precision and missing_instructions(job.precision)
        if reason:
            done.append(Trial(backend=job.backend, precision=job.precision, error=reason, kind=UNFIT))
            continue
        progress(f"trying {job.precision or 'one operator'} in {job.backend}")
        trial = trials.run(job)
        if trial.error is not None:
            if job.precision is None or trial.kind == "MissingExtraError":
                probe = dataclasses.replace(trial, precision=None)
            else:
                probe = trials.run(dataclasses.replace(job, precision=None))
            if probe.error is not None:
                dead.add(job.backend)
                trial = probe
        done.append(trial)
    return tuple(done)


def look_at(path: Path | None) -> BundleState:
    """Load a bundle and check the hash of every file."""
    folder = default_bundle() if path is None else path
    try:
        sha256 = manifest_sha256(folder)
    except BundleError:
        sha256 = None
    state = BundleState(path=folder, is_default=path is None, sha256=sha256)
    try:
        bundle = Bundle.load(folder)
    except (QaOnnxError, OSError) as error:
        return dataclasses.replace(state, error=str(error))
    return dataclasses.replace(state, bundle=bundle, damaged=bundle.damaged_files())


def plan(state: BundleState) -> tuple[Job, ...]:
    """Return a job for each precision on each backend; for a backend without precision, one that starts it."""
    wanted: list[tuple[str, str | None]] = []
    timed = 0
    for backend in BACKENDS:
        held = state.bundle.precisions(backend) if state.bundle and state.whole else ()
        unfit = [name for name in held if missing_instructions(name)]
        fit = [name for name in held if name not in unfit]
        timed += len(fit)
        wanted += [(str(backend), name) for name in ((*fit, *unfit) if fit else (None, *unfit))]
    seconds = min(0.8, _SECONDS / max(1, timed))
    return tuple(
        Job(backend=backend, bundle=state.path, precision=precision, seconds=seconds)
        for backend, precision in wanted
    )
