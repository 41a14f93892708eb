"""`qa-onnx inspect`: show what is in a bundle, and check it on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.bench.page import calibration
from qa_onnx.cli import tables
from qa_onnx.cli.options import bundle_option
from qa_onnx.cli.output import to_json
from qa_onnx.cli.tables import printable
from qa_onnx.engines.names import PRECISIONS, missing_instructions
from qa_onnx.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Bundle


@click.command
@bundle_option
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@click.option("--verify", is_flag=True, help="Check all hashes, and run the golden examples in each precision.")
def inspect(*, bundle: Path | None, as_json: bool, verify: bool) -> None:
    """Show what is in a bundle: source, precisions, sizes, hashes, inputs, fused nodes, parity.

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
        _describe(loaded)
        for name, check in (checks or {}).items():
            click.echo(f"verify {name:16} {printable(str(check['message']))}")
    if checks and any(check["passed"] is False for check in checks.values()):
        raise click.ClickException("the bundle does not give the same results here as at export")


def _describe(bundle: Bundle) -> None:
    from qa_onnx.bundle.choice import advise, explain

    manifest = bundle.manifest
    source, model = manifest.source, manifest.architecture
    files = manifest.files()
    threshold = manifest.null_threshold
    rows = {
        "bundle": f"{bundle.path} ({sum(entry.size for entry in files) / 1e6:.1f} MB, format "
        f"{'.'.join(map(str, manifest.format_version))}, made {manifest.created})",
        "source": f"{source.kind} {source.name}, SHA-256 {source.sha256}"
        + (f", revision {source.revision}" if source.revision else ""),
        "model": f"{model.get('model_type')}, {model.get('layers')} layers, {model.get('heads')} heads, "
        f"hidden size {model.get('hidden_size')}, {model.get('parameters', 0) / 1e6:.1f} million weights",
        "windows": f"{manifest.max_length} tokens by default, {manifest.max_positions} at most",
        "inputs": f"{', '.join(manifest.inputs)}; pad id {manifest.pad_id}, cls id {manifest.cls_id}",
        "scores": f"temperature {manifest.temperature:g}, null threshold "
        + ("off: always answers" if threshold is None else f"{threshold:g}")
        + (f", {calibration(manifest.confidence)}" if manifest.confidence else ""),
        "here": explain(bundle),
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
    if faster := advise(bundle):
        rows["faster"] = ": ".join(faster)
    for name, text in rows.items():
        click.echo(f"{name:10} {printable(text)}")
    click.echo()
    tables.console().print(tables.precisions(bundle))
    click.echo()
    tables.show_receipts(bundle)
    for entry in files:
        click.echo(f"{entry.sha256}  {entry.size:>11,}  {printable(entry.name)}")


def _verify(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Check the hashes, and each precision's golden examples; "passed" is None for those that cannot run here."""
    damaged = bundle.damaged_files()
    hashes = "; ".join(damaged) or f"{len(bundle.manifest.files())} files"
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
    if check.max_abs == float("inf"):  # which JSON has not
        text = "the golden texts give other tokens, or logits that are not numbers"
        return {"passed": False, "max_abs": None, "message": text}
    text = f"logits of {check.windows} golden windows within {check.max_abs:.2g}; {check.tolerance:g} is allowed"
    return {"passed": check.passed, "max_abs": check.max_abs, "message": text}
