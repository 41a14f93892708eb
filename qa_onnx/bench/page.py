"""A bundle's receipts -> one HTML page with its plots inside, for people who were not there.

Nothing is loaded from elsewhere, and nothing is measured here: every figure stands in bundle.json.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from qa_onnx.bench.document import document, figure, new_axes, svg, table
from qa_onnx.errors import BundleError
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.bundle.manifest import Confidence, Manifest, ReliabilityBin


def page(bundle: Bundle) -> str:
    """The receipts of a bundle as an HTML page.

    Raises:
        BundleError: no graph of it has a receipt.
        MissingExtraError: matplotlib is not installed.
    """
    manifest = bundle.manifest
    if not any(graph.receipt for graph in manifest.graphs.values()):
        raise BundleError(f"{bundle.path} has no receipts: export it with --eval-data")
    require("bench")
    name = html.escape(manifest.source.name)
    parts = [
        f"<h1>{name}: how well it answers</h1>",
        f"<p>Source: {manifest.source.kind} <code>{name}</code>, SHA-256 <code>{manifest.source.sha256}</code>. "
        f"Exported {html.escape(manifest.created)}.</p>",
        "<h2>Accuracy of each precision</h2>",
        _accuracy_table(manifest),
        figure(_accuracy_plot(manifest), "F1 on the evaluation data, with 95 % bootstrap intervals."),
        "<h2>Agreement with the source model</h2>",
        _parity_table(manifest),
        "<h2>Kept back</h2>",
        _kept_back(manifest),
    ]
    if manifest.confidence:
        parts += ["<h2>Confidence</h2>", _confidence(manifest, manifest.confidence)]
    parts += ["<h2>Made with</h2>", _versions(manifest)]
    return document(f"{name}: receipt", parts)


def _accuracy_table(manifest: Manifest) -> str:
    rows = []
    for name, graph in manifest.graphs.items():
        receipt = graph.receipt
        if receipt:
            rows.append(
                (
                    name,
                    f"{graph.file.size / 1e6:.1f}",
                    f"{receipt.accuracy.em:.2f}",
                    f"{receipt.accuracy.f1:.2f} ({_interval(receipt.accuracy.f1_interval)})",
                    f"{receipt.percent_of_fp32:.2f} %",
                    f"{receipt.gate:g} %",
                    f"{receipt.source.f1:.2f}, {receipt.source_name}",
                    f"{receipt.n:,} of {receipt.data}",
                    receipt.engine,
                    receipt.date[:10],
                )
            )
    head = ("precision", "MB", "EM", "F1 (95 %)", "of fp32's F1", "gate", "source's F1", "questions", "in", "date")
    return table(head, rows, numbers={1, 2, 3, 4, 5})


def _parity_table(manifest: Manifest) -> str:
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
    return table(head, rows, numbers={2, 3, 4})


def _kept_back(manifest: Manifest) -> str:
    items = [
        f"<li>{name}: <code>{html.escape(node)}</code></li>"
        for name, graph in manifest.graphs.items()
        if graph.receipt
        for node in graph.receipt.kept_back
    ]
    return f"<ul>{''.join(items)}</ul>" if items else "<p>Nothing: every node has the precision of its graph.</p>"


def _confidence(manifest: Manifest, confidence: Confidence) -> str:
    threshold = manifest.null_threshold
    said = (
        f"<p>Temperature {manifest.temperature:.3f}, null threshold "
        f"{'off' if threshold is None else f'{threshold:.3f}'}, fitted on {confidence.fitted_n:,} questions of "
        f"{html.escape(confidence.fitted_on)}. Expected calibration error on {confidence.checked_n:,} other "
        f"questions, of {html.escape(confidence.checked_on)}: {confidence.ece_before:.2f} % before, "
        f"{confidence.ece_after:.2f} % after.</p>"
    )
    caption = (
        "Share of exact answers by probability; the area of a point is the number of answers. On the line, a "
    )
    return said + figure(_reliability_plot(confidence), caption + "probability means what it says.")


def _versions(manifest: Manifest) -> str:
    sets = next(graph.receipt.instruction_sets for graph in manifest.graphs.values() if graph.receipt)
    rows = [*manifest.versions.items(), ("instruction sets", ", ".join(sets) or "unknown")]
    return table(("package", "version"), rows, numbers=set())


def _accuracy_plot(manifest: Manifest) -> str:
    drawing, axes = new_axes(width=8, height=1.2 + 0.45 * (len(manifest.graphs) + 1))
    receipts = [(name, graph.receipt) for name, graph in manifest.graphs.items() if graph.receipt]
    first = receipts[0][1]
    points = [(first.source_name, first.source), *((name, receipt.accuracy) for name, receipt in receipts)]
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
    return svg(drawing)


def _reliability_plot(confidence: Confidence) -> str:
    drawing, axes = new_axes(width=5.5, height=5)
    axes.plot((0, 1), (0, 1), color="black", linewidth=1, linestyle=":")
    series: tuple[tuple[str, Sequence[ReliabilityBin], str, str], ...] = (
        (f"before (error {confidence.ece_before:.1f} %)", confidence.before, "s", "white"),
        (f"after (error {confidence.ece_after:.1f} %)", confidence.after, "o", "black"),
    )
    total = confidence.checked_n
    for label, bins, marker, face in series:
        x, y = [item.confidence for item in bins], [item.accuracy for item in bins]
        axes.plot(x, y, color="black", linewidth=0.8, linestyle="--" if face == "white" else "-", zorder=1)
        sizes = [20 + 600 * item.n / total for item in bins]
        axes.scatter(x, y, s=sizes, marker=marker, facecolor=face, edgecolor="black", label=label, zorder=2)
    axes.set_xlabel("probability of the answer")
    axes.set_ylabel("share of exact answers")
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.05)
    for handle in axes.legend(loc="upper left", frameon=False).legend_handles:
        handle.set_sizes([50])
    return svg(drawing)


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.1f} to {ends[1]:.1f}"
