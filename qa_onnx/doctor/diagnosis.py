"""Findings -> what is wrong, and what to do about it.

A problem keeps something from working that was asked for; a note is about anything else. Left out: finding out
(findings.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.doctor.findings import UNFIT, precisions
from qa_onnx.engines.names import IN_BF16, Backend
from qa_onnx.errors import BundleError, EngineError
from qa_onnx.machine.packages import version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.doctor.findings import BundleState, Findings, Trial
    from qa_onnx.evaluation.golden import GoldenCheck


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and its remedy."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Problems, which keep what was asked for from working, and notes, which do not."""

    problems: tuple[Fault, ...]
    notes: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether all that was asked for works."""
        return not self.problems


def diagnose(findings: Findings) -> Diagnosis:
    """Judge what was found."""
    problems = [*_of_packages(findings), *_of_bundle(findings.bundle)]
    for backend in findings.asked:
        problems += _of_asked(findings, backend)
    notes = [*_of_others(findings), *_of_threads(findings)]
    return Diagnosis(tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(notes)))


def _of_packages(findings: Findings) -> Iterator[Fault]:
    runtimes = findings.packages.runtimes
    if len(runtimes) > 1:
        names = " ".join(runtimes)
        yield Fault(
            f"{' and '.join(runtimes)} are installed together and overwrite each other's files",
            f"pip uninstall {names}, then pip install 'qa-onnx[cpu]', or 'qa-onnx[gpu]' for an NVIDIA GPU",
        )


def _of_bundle(state: BundleState) -> Iterator[Fault]:
    for said in (state.error, *state.damaged):
        if said is not None:
            yield Fault(f"the bundle cannot be used: {said}", _mend(state))


def _mend(state: BundleState) -> str:
    if state.is_default:
        return "pip install --force-reinstall --no-deps qa-onnx brings the default bundle again"
    if state.sha256 is None:
        return "name the folder that qa-onnx export wrote, the one with bundle.json in it"
    return f"qa-onnx export CHECKPOINT --to {state.path}, or copy the bundle again from where it is whole"


def _of_asked(findings: Findings, backend: str) -> Iterator[Fault]:
    """What keeps a backend from working that must."""
    try:
        Backend.parse(backend)
    except EngineError as error:
        yield Fault(str(error), "ask for one of these")
        return
    wanted = _wanted(findings, backend)
    for trial in findings.at(backend):
        if trial.kind == UNFIT:
            if trial.precision == wanted:
                yield _of_cpu(trial)
        elif trial.error is not None:
            if len(findings.packages.runtimes) < 2 or not backend.startswith("onnxruntime/"):
                yield _of_trial(findings, trial)
        elif trial.golden is not None and not trial.golden.passed:
            yield _of_golden(findings, trial, trial.golden)
    if findings.bundle.bundle is not None:
        yield from _of_precision(findings, findings.bundle.bundle, backend)


def _of_precision(findings: Findings, bundle: Bundle, backend: str) -> Iterator[Fault]:
    """Whether the bundle has a graph for a backend, and the one that was asked for."""
    wanted = _wanted(findings, backend)
    unfit = {trial.precision for trial in findings.at(backend) if trial.kind == UNFIT}
    suited = tuple(name for name in precisions(bundle, backend) if name not in unfit)
    if wanted in (*suited, *unfit) or (wanted is None and suited):
        return
    try:
        bundle.graph(wanted) if wanted else bundle.best_precision(Backend.parse(backend))
    except (BundleError, EngineError) as error:
        yield Fault(error.problem, error.remedy)
    else:
        others = f"--precision {suited[0]}, or " if suited else ""
        yield Fault(
            f"{wanted} of {bundle.path} does not run on {backend}; {', '.join(suited) or 'none'} of it can",
            f"{others}another engine or device",
        )


def _wanted(findings: Findings, backend: str) -> str | None:
    """The precision that must work at a backend; None: any."""
    return findings.precision if backend == findings.asked[-1] else None


def _of_cpu(trial: Trial) -> Fault:
    other = IN_BF16[trial.precision or ""]
    return Fault(
        f"{trial.precision} cannot run here: {trial.reason}",
        f"--precision {other}, the same graph without bf16, or another CPU",
    )


def _of_trial(findings: Findings, trial: Trial) -> Fault:
    said, _, remedy = trial.reason.partition(": pip ")
    does = f"does not run {trial.precision}" if trial.precision else "does not start"
    what = f"{trial.backend} {does}: {said}"
    if trial.backend.endswith("/cuda"):
        return Fault(what, "; ".join(_gpu_steps(findings)) or "install what the message names")
    if remedy:
        return Fault(what, f"pip {remedy.partition(' (')[0]}")
    if trial.kind in {"BundleError", "BundleFormatError"}:
        return Fault(what, _mend(findings.bundle))
    if trial.kind == "timeout" or "SIGKILL" in said:
        return Fault(what, "give the process more memory and an idle CPU, or take a smaller model")
    wheel = _wheel(findings, trial.backend)
    return Fault(what, f"pip install --force-reinstall {wheel}, or another version of it")


def _wheel(findings: Findings, backend: str) -> str:
    engine = backend.partition("/")[0]
    return next(iter(findings.packages.runtimes), engine) if engine == "onnxruntime" else engine


def _gpu_steps(findings: Findings) -> Iterator[str]:
    """What is missing on the way to a GPU."""
    gpu = findings.gpu
    if gpu.driver is None:
        yield gpu.said or (
            "no NVIDIA driver was found: install it, or start the container with --gpus all, until nvidia-smi "
            "lists the GPU"
        )
    elif gpu.too_old:
        yield f"driver {gpu.driver} is too old for CUDA {gpu.cuda}: update it to {gpu.too_old} or newer"
    if gpu.cuda is None:
        names = " ".join(findings.packages.runtimes)
        yield f"{f'pip uninstall {names}, then ' if names else ''}pip install 'qa-onnx[gpu]'"
    elif gpu.not_loaded:
        yield f"pip install 'qa-onnx[gpu]' brings what cannot be loaded: {', '.join(gpu.not_loaded)}"


def _of_golden(findings: Findings, trial: Trial, check: GoldenCheck) -> Fault:
    bundle = findings.bundle.bundle
    off = "the golden texts give other tokens, or logits that are no numbers"
    if check.max_abs != float("inf"):
        off = f"logits of the golden texts are off by {check.max_abs:.2g}, {check.tolerance:g} is allowed"
    made = {} if bundle is None else bundle.manifest.versions
    others = [
        f"{name} {was} (here {here})"
        for name, was in made.items()
        if name in {"tokenizers", "onnxruntime"} and (here := version(name)) not in {None, was}
    ]
    return Fault(
        f"{trial.precision} in {trial.backend} does not give what it gave at export: {off}",
        "measure it here with qa-onnx eval, or export the bundle again"
        + (f"; it was made with {', '.join(others)}" if others else ""),
    )


def _of_others(findings: Findings) -> Iterator[Fault]:
    """What is installed and broken, but was not asked for."""
    for lack in findings.packages.unmet:
        yield Fault(f"qa-onnx needs {lack}", f"pip install {lack.partition(' (')[0]!r}")
    known = {trial.reason for backend in findings.asked for trial in findings.at(backend)}
    for trial in findings.trials:
        if trial.backend in findings.asked or trial.kind == UNFIT:
            continue
        if trial.error is not None and trial.kind != "MissingExtraError" and trial.reason not in known:
            yield _of_trial(findings, trial)
        elif trial.golden is not None and not trial.golden.passed:
            yield _of_golden(findings, trial, trial.golden)


def _of_threads(findings: Findings) -> Iterator[Fault]:
    threads = findings.cores.threads
    for name, value in findings.environment.items():
        if value.strip() != str(threads):
            yield Fault(
                f"{name}={value} has no effect here: qa-onnx gives each session its number of threads, {threads}",
                f"--threads {value}, or Reader.load(threads={value})"
                if value.strip().isdigit()
                else "--threads N, or Reader.load(threads=N)",
            )
