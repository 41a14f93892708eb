"""The receipts of a bundle -> one HTML page with plots.

Every figure stands in bundle.json. Left out: measuring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.bench.document import Plot, ReportTable, new_axes, svg, to_html
from qa_onnx.errors import BundleError
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qa_onnx.bench.document import Block
    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.bundle.manifest import Confidence, Manifest, Receipt


def page(bundle: Bundle) -> str:
    """Return the receipts of a bundle as an HTML page.

    Raises:
        BundleError: no graph of the bundle has a receipt.
        MissingExtraError: matplotlib is not installed.
    """
    manifest = bundle.manifest
    receipts = {name: graph.receipt for name, graph in manifest.graphs.items() if graph.receipt}
    if not receipts:
        raise BundleError(f"{bundle.path} has no receipts: export it with --eval-data")
    require("bench")
    source = manifest.source
    kept_back = [f"{name}: `{node}`" for name, receipt in receipts.items() for node in receipt.kept_back]
    sets = ", ".join(next(iter(receipts.values())).instruction_sets) or "unknown"
    blocks: list[Block] = [
        f"# {source.name}: how well it answers",
        f"Source: {source.kind} `{source.name}`, SHA-256 `{source.sha256}`. Exported {manifest.created}.",
        "## Accuracy of each precision",
        _accuracy_table(manifest, receipts),
        Plot(_accuracy_plot(receipts), "F1 on the evaluation data, with 95 % bootstrap intervals."),
        "## Agreement with the source model",
        _parity_table(manifest),
        "## Kept back",
        kept_back or "Nothing: every node has the precision of its graph.",
    ]
    if manifest.confidence:
        blocks += ["## Confidence", *_confidence(manifest, manifest.confidence)]
    versions = ReportTable(
        ("package", "version"), [*manifest.versions.items(), ("instruction sets", sets)], texts=(0, 1)
    )
    return to_html(f"{source.name}: receipt", [*blocks, "## Made with", versions])


def _accuracy_table(manifest: Manifest, receipts: Mapping[str, Receipt]) -> ReportTable:
    rows = [
        (
            name,
            f"{manifest.graphs[name].file.size / 1e6:.1f}",
            f"{receipt.accuracy.em:.2f}",
            "{:.2f} ({:.1f} to {:.1f})".format(receipt.accuracy.f1, *receipt.accuracy.f1_interval),
            f"{receipt.percent_of_fp32:.2f} %",
            f"{receipt.gate:g} %",
            f"{receipt.source.f1:.2f}, {receipt.source_name}",
            f"{receipt.n:,} of {receipt.data}",
            receipt.engine,
            receipt.date[:10],
        )
        for name, receipt in receipts.items()
    ]
    head = ("precision", "MB", "EM", "F1 (95 %)", "of fp32's F1", "gate", "source's F1", "questions", "in", "date")
    return ReportTable(head, rows, texts=(0, 6, 7, 8, 9))


def _parity_table(manifest: Manifest) -> ReportTable:
    rows = [
        (
            name,
            graph.kind,
            f"{graph.parity.max_abs:.2g}",
            f"{graph.parity.mean_abs:.2g}",
            f"{graph.parity.same_best_span:.1%}",
            f"{graph.parity.windows} windows, {graph.parity.reference}",
        )
        for name, graph in manifest.graphs.items()
        if graph.parity
    ]
    head = ("precision", "graph", "largest difference of a logit", "mean", "same best span", "over")
    return ReportTable(head, rows, texts=(0, 1, 5))


def _confidence(manifest: Manifest, confidence: Confidence) -> list[Block]:
    threshold = manifest.null_threshold
    return [
        f"Temperature {manifest.temperature:.3f}, null threshold "
        f"{'off' if threshold is None else f'{threshold:.3f}'}, fitted on {confidence.fitted_n:,} questions of "
        f"{confidence.fitted_on}. Expected calibration error on {confidence.checked_n:,} other questions, of "
        f"{confidence.checked_on}: {confidence.ece_before:.2f} % before, {confidence.ece_after:.2f} % after.",
        Plot(
            _reliability_plot(confidence),
            "Share of exact answers by probability; the area of a point is the number of answers. On the line, a "
            "probability is right: of the answers with 0.8, 80 % are exact.",
        ),
    ]


def _accuracy_plot(receipts: Mapping[str, Receipt]) -> str:
    first = next(iter(receipts.values()))
    points = [(first.source_name, first.source), *((name, one.accuracy) for name, one in receipts.items())]
    axes = new_axes(width=8, height=1.2 + 0.45 * len(points))
    for row, (_, accuracy) in enumerate(points):
        axes.plot(accuracy.f1_interval, (row, row), color="black", linewidth=1.5)
        axes.plot(accuracy.f1, row, "o", color="black", markersize=7)
        axes.annotate(f"{accuracy.f1:.2f}", (accuracy.f1, row), (0, 8), textcoords="offset points", ha="center")
    gate = first.gate / 100 * first.fp32.f1
    axes.axvline(gate, color="black", linestyle="--", linewidth=1)
    axes.annotate(f"gate {gate:.2f}", (gate, -0.7), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(points)), [name for name, _ in points])
    axes.set_ylim(len(points) - 0.4, -0.7)
    axes.set_xlabel("F1 (%)")
    return svg(axes)


def _reliability_plot(confidence: Confidence) -> str:
    axes = new_axes(width=5.5, height=5)
    axes.plot((0, 1), (0, 1), color="black", linewidth=1, linestyle=":")
    for label, error, bins, marker, face, line in (
        ("before", confidence.ece_before, confidence.before, "s", "white", "--"),
        ("after", confidence.ece_after, confidence.after, "o", "black", "-"),
    ):
        x, y = [item.confidence for item in bins], [item.accuracy for item in bins]
        axes.plot(x, y, color="black", linewidth=0.8, linestyle=line, zorder=1)
        sizes = [20 + 600 * item.n / confidence.checked_n for item in bins]
        axes.scatter(
            x, y, s=sizes, marker=marker, facecolor=face, edgecolor="black", zorder=2,
            label=f"{label} (error {error:.1f} %)",
        )  # fmt: skip
    axes.set_xlabel("probability of the answer")
    axes.set_ylabel("share of exact answers")
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.05)
    for handle in axes.legend(loc="upper left", frameon=False).legend_handles:
        handle.set_sizes([50])
    return svg(axes)
