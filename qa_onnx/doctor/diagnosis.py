"""Findings -> problems and notes, each with its remedy.

A problem keeps something from working that the user asked for; a note is about anything else. Left out: collecting
the findings (findings.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.bundle.choice import advise
from qa_onnx.bundle.repair import how_to_repair
from qa_onnx.bundle.tuned import find_profile
from qa_onnx.doctor.trial import UNFIT
from qa_onnx.engines.names import PRECISIONS, Backend
from qa_onnx.errors import BundleError, EngineError
from qa_onnx.machine.packages import version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx.doctor.findings import BundleState, Findings
    from qa_onnx.doctor.trial import Trial
    from qa_onnx.evaluation.golden import GoldenCheck


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong or could be better, and its remedy."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Problems, which keep from working what the user asked for, and notes, which do not."""

    problems: tuple[Fault, ...]
    notes: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """True if everything works that the user asked for."""
        return not self.problems


def diagnose(findings: Findings) -> Diagnosis:
    """Judge the findings."""
    problems = [*_package_faults(findings), *_bundle_faults(findings.bundle)]
    for backend in findings.requested:
        problems += _backend_faults(findings, backend)
    notes = [
        *_other_faults(findings),
        *_unused_gpu(findings),
        *_thread_notes(findings),
        *_faster(findings.bundle),
    ]
    return Diagnosis(tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(notes)))


def _package_faults(findings: Findings) -> Iterator[Fault]:
    wheels = findings.packages.wheels
    if len(wheels) > 1:
        names = " ".join(wheels)
        yield Fault(
            f"{' and '.join(wheels)} are installed together and overwrite each other's files",
            f"pip uninstall {names}, then pip install 'qa-onnx[cpu]', or 'qa-onnx[gpu]' for an NVIDIA GPU",
        )


def _bundle_faults(state: BundleState) -> Iterator[Fault]:
    for problem in (state.error, *state.damaged):
        if problem is not None:
            yield Fault(f"the bundle cannot be used: {problem}", _repair(state))


def _repair(state: BundleState) -> str:
    if state.is_default:
        return "pip install --force-reinstall --no-deps qa-onnx restores the default bundle"
    if state.sha256 is None:
        return "name the folder that qa-onnx export wrote: it holds a file bundle.json"
    return how_to_repair(state.path)


def _backend_faults(findings: Findings, backend: str) -> Iterator[Fault]:
    """Yield what keeps a backend from working that must work."""
    try:
        parsed = Backend.parse(backend)
    except EngineError as error:
        yield Fault(error.problem, error.remedy or "use one of these")
        return
    wanted = findings.precision if backend == findings.requested[-1] else None  # None: any
    for trial in findings.at(backend):
        if trial.kind == UNFIT and trial.precision and trial.precision == wanted:
            other = f"--precision {PRECISIONS[wanted].graph}, the same graph without bf16, or another CPU"
            yield Fault(f"{wanted} cannot run here: {trial.reason}", other)
        elif len(findings.packages.wheels) < 2 or not backend.startswith("onnxruntime/"):
            yield from _trial_faults(findings, trial)
    if (bundle := findings.bundle.bundle) is None:
        return
    try:
        bundle.graph_for(wanted, parsed) if wanted else bundle.best_precision(parsed)
    except (BundleError, EngineError) as error:
        yield Fault(error.problem, error.remedy)


def _trial_faults(findings: Findings, trial: Trial) -> Iterator[Fault]:
    if trial.error is not None and trial.kind != UNFIT:
        yield _failed_trial(findings, trial)
    elif trial.golden is not None and not trial.golden.passed:
        yield _failed_check(findings, trial, trial.golden)


def _failed_trial(findings: Findings, trial: Trial) -> Fault:
    failure = f"does not run {trial.precision}" if trial.precision else "does not start"
    what = f"{trial.backend} {failure}: {trial.problem}"
    if trial.remedy:
        return Fault(what, trial.remedy)
    if trial.kind == "timeout" or "SIGKILL" in trial.problem:
        return Fault(what, "give the process more memory and an idle CPU, or use a smaller model")
    wheel = trial.backend.partition("/")[0]
    if wheel != "openvino":  # TensorRT runs in ONNX Runtime
        wheel = next(iter(findings.packages.wheels), wheel)
    return Fault(what, f"pip install --force-reinstall {wheel}, or another version of it")


def _failed_check(findings: Findings, trial: Trial, check: GoldenCheck) -> Fault:
    bundle = findings.bundle.bundle
    exported_with = {} if bundle is None else bundle.manifest.versions
    others = [
        f"{name} {exported} (here {installed})"
        for name, exported in exported_with.items()
        if name in {"tokenizers", "onnxruntime"} and (installed := version(name)) not in {None, exported}
    ]
    return Fault(
        f"{trial.precision} in {trial.backend} does not pass the check with golden texts: {check}",
        "measure it here with qa-onnx eval, or export the bundle again"
        + (f"; it was made with {', '.join(others)}" if others else ""),
    )


def _other_faults(findings: Findings) -> Iterator[Fault]:
    """Yield what is installed and broken, but was not asked for."""
    for requirement in findings.packages.unmet:
        yield Fault(f"qa-onnx needs {requirement}", f"pip install {requirement.partition(' (')[0]!r}")
    reported = {trial.reason for backend in findings.requested for trial in findings.at(backend)}
    for trial in findings.trials:
        known = trial.backend in findings.requested or (trial.error is not None and trial.reason in reported)
        if not known and trial.kind != "MissingExtraError":
            yield from _trial_faults(findings, trial)


def _unused_gpu(findings: Findings) -> Iterator[Fault]:
    """Yield a GPU that the installed ONNX Runtime cannot use, unless it was asked for: then it is a problem."""
    if not findings.gpu.gpus or findings.requested[-1].endswith("/cuda"):
        return
    for trial in findings.at("onnxruntime/cuda"):
        if trial.kind == "MissingExtraError":
            what = f"{findings.gpu.gpus[0].name} is not used: {trial.problem}"
            yield Fault(what, f"{trial.remedy}, then --device cuda")


def _thread_notes(findings: Findings) -> Iterator[Fault]:
    threads = findings.cores.threads
    for name, value in findings.environment.items():
        if value.strip() != str(threads):
            yield Fault(
                f"{name}={value} has no effect here: qa-onnx gives each session its number of threads, {threads}",
                f"--threads {value}, or Reader.load(threads={value})"
                if value.strip().isdigit()
                else "--threads N, or Reader.load(threads=N)",
            )


def _faster(state: BundleState) -> Iterator[Fault]:
    """Yield what would answer faster on this CPU."""
    if state.bundle and state.whole and (faster := advise(state.bundle, find_profile(state.bundle))):
        yield Fault(*faster)
