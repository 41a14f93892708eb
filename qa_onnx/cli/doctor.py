"""`qa-onnx doctor`: test whether question answering works on this machine, and explain why not.

`--json` prints one object. Its keys stay:

    ok           true if everything works that was asked for; the exit code says the same
    problems     what keeps it from working: [{"what", "remedy"}]
    notes        other faults, in the same form
    asked        {"backends": those that must work, "precision": the requested one or null}
    versions     {package: version or null}, with "python" and "system"
    runtimes     {wheel of ONNX Runtime: version}
    extras       {extra: missing packages}; an empty list if it is complete
    cpu          {"model", "physical", "logical", "allowed", "usable", "quota", "threads", "limit", "load",
                 "instruction_sets", "exact_int8"}; limit names which of three limits the threads
    memory       {"total", "available", "limit"} in bytes, null if unknown or not limited
    environment  {variable: value} of those that set threads elsewhere
    gpu          {"driver", "gpus": [{"name", "memory"}] in MiB, "nvidia_smi_error", "cuda", "libraries":
                 [{"name", "error"}], "wheels"}; cuda is what the installed ONNX Runtime was built for
    bundle       {"path", "name", "sha256" of its manifest, "files", "error", "damaged", "precisions": {precision:
                 {"bytes", "kind", "engines", "fused_nodes", "f1", "percent_of_fp32", "data", "questions"}}}
    engines      {backend: {"starts", "precision", "error"}}; precision is the best that ran there, or null
    trials       [{"backend", "precision", "error", "log" (of ONNX Runtime), "golden": {"windows",
                 "max_abs", "tolerance", "passed"} or null, "questions_per_second", "right", "questions"}]
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
import msgspec

from qa_onnx.cli import tables
from qa_onnx.cli.notes import quiet_option, verbose_option
from qa_onnx.cli.options import BundleCommand, bundle_option
from qa_onnx.cli.output import to_json
from qa_onnx.engines.names import BACKENDS, DEVICES, ENGINES, PRECISIONS, usual_engine

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.doctor.diagnosis import Diagnosis
    from qa_onnx.doctor.findings import BundleState, Findings
    from qa_onnx.doctor.trial import Trial


@click.command(cls=BundleCommand)
@bundle_option
@click.option(
    "--engine", type=click.Choice(ENGINES), help="[default: onnxruntime, or openvino for the bf16 precisions]"
)
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), help="[default: the best for engine and device]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@verbose_option("Show versions, CPU, GPU, bundle and engines too.")
@quiet_option
def doctor(
    *,
    bundle: Path | None,
    engine: str | None,
    device: str,
    precision: str | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Test whether question answering works on this machine, and explain why not.

    Checks packages, CPU, GPU and the bundle, and runs each of its precisions in each engine. Give it the same
    options as the command that failed. The exit code is 1 if those cannot work, or if ONNX Runtime on the CPU
    cannot.
    """
    from qa_onnx.cli import checkup
    from qa_onnx.doctor.diagnosis import diagnose
    from qa_onnx.doctor.findings import examine

    if engine is None:
        engine = usual_engine(precision, device)
    with tables.console(stderr=True).status("") as status:  # shown on a terminal only
        findings = examine(bundle, engine=engine, device=device, precision=precision, progress=status.update)
    diagnosis = diagnose(findings)
    if as_json:
        click.echo(to_json(msgspec.to_builtins(record(findings, diagnosis)), indent=1))
    else:
        checkup.show(findings, diagnosis, verbose=verbose)
    if not diagnosis.ok:
        click.get_current_context().exit(1)


def record(findings: Findings, diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the object that --json prints; the module's docstring describes its keys."""
    packages, cores = findings.packages, findings.cores
    return {
        "ok": diagnosis.ok,
        "problems": diagnosis.problems,
        "notes": diagnosis.notes,
        "asked": {"backends": findings.requested, "precision": findings.precision},
        "versions": {**packages.versions, "python": packages.python, "system": packages.system},
        "runtimes": packages.wheels,
        "extras": packages.extras,
        "cpu": {
            "model": findings.cpu,
            **asdict(cores),
            "threads": cores.threads,
            "limit": cores.limit,
            "load": findings.load,
            "instruction_sets": findings.instruction_sets,
            "exact_int8": findings.exact_int8,
        },
        "memory": findings.memory,
        "environment": findings.environment,
        "gpu": findings.gpu,
        "bundle": _bundle(findings.bundle),
        "engines": {backend: _engine(findings, backend) for backend in map(str, BACKENDS)},
        "trials": [_trial(trial) for trial in findings.trials],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    record = asdict(trial)
    record["error"] = ": ".join(filter(None, (trial.error, record.pop("remedy")))) or None
    del record["kind"]
    if trial.golden:
        record["golden"]["passed"] = trial.golden.passed
    return record


def _engine(findings: Findings, backend: str) -> dict[str, Any]:
    trials = findings.at(backend)
    ran = [trial for trial in trials if trial.error is None]
    return {
        "starts": bool(ran),
        "precision": ran[0].precision if ran else None,
        "error": trials[0].reason if trials and not ran else None,
    }


def _bundle(state: BundleState) -> dict[str, Any]:
    manifest = state.bundle.manifest if state.bundle else None
    return {
        "path": str(state.path),
        "name": manifest and manifest.source.name,
        "sha256": state.sha256,
        "files": manifest and len(manifest.files()),
        "error": state.error,
        "damaged": state.damaged,
        "precisions": {
            name: {
                "bytes": graph.size,
                "kind": graph.kind,
                "engines": graph.backends,
                "fused_nodes": graph.fused_nodes,
                "f1": graph.receipt and graph.receipt.accuracy.f1,
                "percent_of_fp32": graph.receipt and graph.receipt.percent_of_fp32,
                "data": graph.receipt and graph.receipt.data,
                "questions": graph.receipt and graph.receipt.n,
            }
            for name, graph in (manifest.graphs if manifest else {}).items()
        },
    }
