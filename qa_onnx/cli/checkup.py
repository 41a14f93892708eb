"""Findings -> the report that `qa-onnx doctor` prints, section by section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from qa_onnx.bundle.choice import explain
from qa_onnx.bundle.tuned import find_profile
from qa_onnx.cli import tables
from qa_onnx.cli.notes import is_quiet
from qa_onnx.doctor.trial import UNFIT
from qa_onnx.engines.names import BACKENDS
from qa_onnx.errors import number_of
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from qa_onnx.doctor.diagnosis import Diagnosis, Fault
    from qa_onnx.doctor.findings import BundleState, Findings
    from qa_onnx.doctor.trial import Trial
    from qa_onnx.machine.nvidia import Nvidia

_LABEL = 18  # columns; the longest name of a backend, indented
_LONGEST = 300  # characters of a reason; --json prints all of it

_SETS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "AMX": ("amx_int8", "amx_bf16"),
    "bf16": cpu.BF16_SETS,
}


def show(findings: Findings, diagnosis: Diagnosis, *, verbose: bool) -> None:
    """Print the verdict, the problems, what each precision did, the notes, and with `verbose` all findings."""
    _verdict(findings, diagnosis)
    if is_quiet():
        return
    _speed(findings)
    for fault in diagnosis.notes:
        _show_fault("note", fault, style="yellow")
    if not verbose:
        if findings.gpu.driver is None and not findings.requested[-1].endswith("/cuda"):
            tables.say("no NVIDIA driver was found, so the CPU answers; --device cuda says what a GPU needs here")
        tables.say("-v shows versions, CPU, GPU, bundle and engines too")
        return
    out = tables.console()
    sections = {
        "versions": _versions(findings),
        "cpu": _cpu(findings),
        "gpu": _gpu(findings.gpu),
        "bundle": _bundle(findings.bundle),
        "engines": {backend: _engine(findings, backend) for backend in map(str, BACKENDS)},
    }
    for title, rows in sections.items():
        out.print(Text(title, "bold"))
        tables.facts(rows.items(), width=_LABEL, before="  ")


def _versions(findings: Findings) -> dict[str, str]:
    packages = findings.packages
    versions = {name: number for name, number in packages.versions.items() if number}
    openvino = {"openvino": versions.pop("openvino")} if "openvino" in versions else {}
    complete = [name for name, missing in packages.extras.items() if not missing]
    extras = f"complete: {', '.join(complete) or 'none'}"
    if partly := [
        f"{name} (lacks {', '.join(missing[:2])}{f' and {len(missing) - 2} more' if len(missing) > 2 else ''})"
        for name, missing in packages.extras.items()
        if missing
    ]:
        extras += f"; not: {', '.join(partly)}"
    return {
        "packages": _numbered(versions),
        "python": f"{packages.python}, {packages.system}",
        "runtimes": _numbered({**packages.wheels, **openvino}) or "none",
        "extras": extras if packages.extras else "unknown: pip has not installed this qa-onnx",
    }


def _numbered(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _cpu(findings: Findings) -> dict[str, str]:
    cores, memory = findings.cores, findings.memory
    quota = "no cgroup quota" if cores.quota is None else f"a cgroup quota of {cores.quota:g}"
    limit = "no cgroup limit" if memory.limit is None else f"a cgroup limit of {_gib(memory.limit)}"
    rows = {
        "model": findings.cpu,
        "cores": f"{cores.physical} physical, {cores.logical} logical; affinity allows {cores.allowed} logical, "
        f"on {cores.usable} physical; {quota}",
        "threads": f"{cores.threads} for a run: bounded by the {cores.limit}",
        "instructions": _instructions(findings),
        "memory": f"{_gib(memory.total)}, {_gib(memory.available)} available; {limit}",
    }
    if findings.environment:
        rows["environment"] = ", ".join(f"{name}={value}" for name, value in findings.environment.items())
    return rows


def _gib(count: int | None) -> str:
    return "unknown" if count is None else f"{count / (1 << 30):.1f} GiB"


def _instructions(findings: Findings) -> str:
    if not findings.instruction_sets:
        return "not known: read only from Linux on x86-64; int8 uses ONNX Runtime's exact kernels"
    has = [name for name, sets in _SETS.items() if not set(sets).isdisjoint(findings.instruction_sets)]
    lacks = [name for name in _SETS if name not in has]
    names = f"{', '.join(has)}" + (f"; no {', '.join(lacks)}" if lacks else "")
    if findings.exact_int8:
        return f"{names}. int8 runs at full speed"
    return f"{names}. Without VNNI, int8 gains less: compare it with fp32 above"


def _gpu(gpu: Nvidia) -> dict[str, str]:
    if gpu.driver is None and gpu.cuda is None and not gpu.wheels and gpu.nvidia_smi_error is None:
        return {"nvidia": "no driver, no GPU, and no CUDA in the installed ONNX Runtime"}
    memory = {one: f" ({one.memory:,} MiB)" for one in gpu.gpus if one.memory is not None}
    names = ", ".join(f"{one.name}{memory.get(one, '')}" for one in gpu.gpus)
    rows = {
        "nvidia": gpu.nvidia_smi_error
        or (f"driver {gpu.driver}: {names or 'no GPU'}" if gpu.driver else "no driver")
    }
    rows["cuda"] = f"ONNX Runtime was built for {gpu.cuda}" if gpu.cuda else "none in the installed ONNX Runtime"
    if gpu.libraries:
        loaded = [one.name for one in gpu.libraries if one.error is None]
        rows["libraries"] = f"{', '.join(loaded) or 'none'} can be loaded" + (
            f"; {', '.join(gpu.not_loaded)} cannot" if gpu.not_loaded else ""
        )
    if gpu.wheels:
        rows["wheels"] = _numbered(gpu.wheels)
    return rows


def _bundle(state: BundleState) -> dict[str, str]:
    rows = {"path": str(state.path)}
    if state.sha256:
        rows["manifest"] = f"SHA-256 {state.sha256[:16]}…"
    if state.bundle is None:
        return {**rows, "error": state.error or ""}
    manifest = state.bundle.manifest
    rows["source"] = f"{manifest.source.name}, made {manifest.created[:10]}"
    rows["here"] = explain(state.bundle, find_profile(state.bundle))
    rows["files"] = "; ".join(state.damaged) or f"{len(manifest.files())}, each with the right size and hash"
    for name, graph in manifest.graphs.items():
        nodes = ", ".join(f"{count} {node}" for node, count in graph.fused_nodes.items())
        rows[name] = f"{graph.size / 1e6:.1f} MB, {nodes or 'plain ONNX'}; " + (
            f"F1 {graph.receipt.accuracy.f1:.2f}, {graph.receipt.percent_of_fp32:.2f} % of fp32, on "
            f"{graph.receipt.n:,} questions of {graph.receipt.data}"
            if graph.receipt
            else "no receipt: it was exported without --eval-data"
        )
    return rows


def _engine(findings: Findings, backend: str) -> str:
    trials = findings.at(backend)
    ran = [trial for trial in trials if trial.error is None]
    if not ran:
        return _short(trials[0].reason) if trials else "not tried"
    names = [trial.precision for trial in ran if trial.precision]
    if names:
        return f"runs {', '.join(names)}"
    return "starts; " + ("the bundle has no precision for it" if findings.bundle.whole else "no bundle to run")


def _verdict(findings: Findings, diagnosis: Diagnosis) -> None:
    """Print in a sentence whether it works, and each problem with its remedy."""
    if diagnosis.ok:
        ran = [one for one in findings.at(findings.requested[-1]) if one.precision and one.error is None]
        best = next((one for one in ran if one.precision == findings.precision), next(iter(ran), None))
        what = f": {best.precision} in {best.backend}, {_right(best)} test questions right" if best else ""
        tables.say(f"ok: question answering works here{what}", style="bold green")
        return
    count = number_of(len(diagnosis.problems), "problem")
    tables.say(f"{count}: question answering does not work here as it was asked for", style="bold red")
    for number, problem in enumerate(diagnosis.problems, 1):
        _show_fault(str(number), problem, style="red")


def _show_fault(label: str, fault: Fault, *, style: str) -> None:
    indent = max(3, len(label) + 1)
    tables.say(_short(fault.what), style=style, label=label, indent=indent)
    if fault.remedy:
        tables.say(f"remedy: {fault.remedy}", label="", style=style, indent=indent)


def _speed(findings: Findings) -> None:
    """Print what each precision did in each engine."""
    trials = [
        trial for trial in findings.trials if trial.precision is not None and trial.kind != "MissingExtraError"
    ]
    if not trials:
        return
    head = ("precision", "engine", "questions/s", "right", "as at export", "a logit differs by")
    tables.show_grid(head, [_trial(trial) for trial in trials], texts=(0, 1, 4, 5))
    line = f"short questions, {number_of(findings.cores.threads, 'thread')}"
    if findings.load is not None and findings.load > findings.cores.logical / 2:
        cores = number_of(findings.cores.logical, "core")
        line += f"; the machine was busy (load {findings.load:.1f} on {cores}): an idle one is faster"
    tables.say(line)


def _trial(trial: Trial) -> tuple[str, ...]:
    check, names = trial.golden, (str(trial.precision), trial.backend)
    if check is None or trial.questions_per_second is None:
        return *names, "-", "-", "-", f"not tried: {trial.reason}" if trial.kind == UNFIT else "did not run"
    difference = f"at most {check.max_abs:.2g} (limit {check.tolerance:g})"
    if check.max_abs == float("inf"):
        difference = "other tokens, or no numbers"
    return *names, f"{trial.questions_per_second:,.1f}", _right(trial), "yes" if check.passed else "NO", difference


def _right(trial: Trial) -> str:
    return f"{trial.right} of {trial.questions}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}… (--json has all of it)"
