"""`qa-onnx inspect`: show what is in a bundle, and check it on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.bench.page import calibration
from qa_onnx.cli import tables
from qa_onnx.cli.notes import verbose_option
from qa_onnx.cli.options import BundleCommand, bundle_option
from qa_onnx.cli.output import to_json
from qa_onnx.engines.names import PRECISIONS, missing_instructions
from qa_onnx.errors import MissingExtraError, number_of

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Bundle
    from qa_onnx.bundle.tuned import Profile


@click.command(cls=BundleCommand)
@bundle_option
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@click.option("--verify", is_flag=True, help="Check all hashes, and run the golden examples in each precision.")
@verbose_option("Show source, inputs, calibration, versions, fused nodes, differences of logits, hashes too.")
def inspect(*, bundle: Path | None, as_json: bool, verify: bool, verbose: bool) -> None:
    """Show what is in a bundle: precisions, sizes, accuracy, and what runs here.

    Precisions that --verify cannot run here, because the CPU has no bf16 or OpenVINO is not installed, are named
    but do not fail; in --json their "passed" is null.
    """
    from qa_onnx import Bundle
    from qa_onnx.bundle.tuned import find_profile

    loaded = Bundle.load(bundle)
    tuned = find_profile(loaded)
    checks = _verify(loaded) if verify else None
    if as_json:
        profile = {"profile": tuned and asdict(tuned)} | ({"verify": checks} if checks else {})
        content = {"path": str(loaded.path), **json.loads(loaded.manifest.to_json()), **profile}
        click.echo(to_json(content, indent=1))
    else:
        tables.say(_lead(loaded, checks))
        if checks:
            tables.facts((name, check["message"]) for name, check in checks.items())
        _describe(loaded, tuned, verbose=verbose)
    if checks and not checks["hashes"]["passed"]:
        raise click.ClickException("the bundle was changed or damaged")
    if checks and any(check["passed"] is False for check in checks.values()):
        raise click.ClickException("the bundle does not give the same results here as at export")


def _lead(bundle: Bundle, checks: dict[str, dict[str, Any]] | None) -> str:
    """Return in a sentence what the bundle is, and whether it can be relied on."""
    manifest = bundle.manifest
    what = f"{manifest.source.name} ({tables.and_list(manifest.graphs)}, {tables.megabytes(bundle)})"
    if checks is None:
        return f"{what}, made {manifest.created[:10]}; --verify checks it on this machine."
    if not checks["hashes"]["passed"]:
        return f"{what} is damaged, and was not run."
    results = {name: check["passed"] for name, check in checks.items() if name != "hashes"}
    if failed := [name for name, passed in results.items() if passed is False]:
        return f"{what} is whole, but {tables.and_list(failed)} does not answer here as at export."
    left_out = [name for name, passed in results.items() if passed is None]
    rest = f"; {tables.and_list(left_out)} cannot run here" if left_out else ""
    return f"{what} is whole and answers here as at export{rest}."


def _describe(bundle: Bundle, tuned: Profile | None, *, verbose: bool) -> None:
    from qa_onnx.bundle.choice import advise, explain

    manifest = bundle.manifest
    model = manifest.architecture
    rows = {
        "folder": str(bundle.path),
        "model": f"{model.get('model_type')}, {model.get('layers')} layers, {model.get('heads')} heads, hidden "
        f"size {model.get('hidden_size')}, {_weights(model.get('parameters', 0))}",
        "windows": f"{manifest.max_length} tokens by default, {manifest.max_positions} at most",
        "here": explain(bundle, tuned),
    }
    if faster := advise(bundle, tuned):
        rows["faster"] = ": ".join(faster)
    tables.facts((rows | _more(bundle) if verbose else rows).items())
    click.echo()
    tables.show_precisions(bundle)
    if not verbose:
        return
    click.echo()
    tables.show_details(bundle)
    click.echo()
    for entry in manifest.files():  # as sha256sum has it
        click.echo(f"{entry.sha256}  {tables.printable(entry.name)}")


def _weights(count: int) -> str:
    return f"{count / 1e6:.1f} million weights" if count >= 1e5 else f"{count:,} weights"


def _more(bundle: Bundle) -> dict[str, str]:
    """Return what only --verbose shows."""
    manifest = bundle.manifest
    source, threshold = manifest.source, manifest.null_threshold
    return {
        "source": f"{source.kind} {source.name}, SHA-256 {source.sha256}"
        + (f", revision {source.revision}" if source.revision else ""),
        "inputs": f"{', '.join(manifest.inputs)}; pad id {manifest.pad_id}, cls id {manifest.cls_id}",
        "scores": f"temperature {manifest.temperature:g}, null threshold "
        + ("off: always answers" if threshold is None else f"{threshold:g}")
        + (f", {calibration(manifest.confidence)}" if manifest.confidence else ""),
        "made": f"{manifest.created}, format {'.'.join(map(str, manifest.format_version))}, with "
        + ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }


def _verify(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Check the hashes, and each precision's golden examples; "passed" is None for those that cannot run here."""
    damaged = bundle.damaged_files()
    files = number_of(len(bundle.manifest.files()), "file")
    hashes = "; ".join(damaged) or f"{files}, each with the size and hash of the export"
    graphs = () if damaged else bundle.manifest.graphs
    checks = {precision: _verify_precision(bundle, precision) for precision in graphs}
    return {"hashes": {"passed": not damaged, "message": hashes}, **checks}


def _verify_precision(bundle: Bundle, precision: str) -> dict[str, Any]:
    from qa_onnx import Reader
    from qa_onnx.evaluation import golden

    reason = missing_instructions(precision)
    if not reason:
        try:
            reader = Reader.load(bundle, precision=precision)
        except MissingExtraError as error:
            if not PRECISIONS[precision].bf16:  # every installation has what the other precisions need
                raise
            reason = str(error)
    if reason:
        return {"passed": None, "max_abs": None, "message": f"not run: {reason}"}
    check = golden.check(reader, bundle.text(bundle.graph(precision).golden), precision)
    return {"passed": check.passed, "max_abs": check.max_abs, "message": str(check)}
