"""The receipts of a bundle -> tables, and one HTML page with plots.

Every figure stands in bundle.json. Left out: measuring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.appearance.plots import INK, PAPER, interval_plot, legend_below, new_axes, svg
from qa_onnx.bench.document import ReportTable, bullets, plot, to_html
from qa_onnx.errors import BundleError, number_of
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.bundle.manifest import Confidence, Manifest, Receipt

_RELIABILITY = (
    "Share of exact answers by probability; the area of a point is the number of answers. On the line, a "
    "probability is right: of the answers with 0.8, 80 % are exact."
)


def receipts_of(bundle: Bundle) -> dict[str, Receipt]:
    """Return the receipts of a bundle by precision.

    Raises:
        BundleError: no graph of the bundle has one.
    """
    if not bundle.manifest.receipts:
        raise BundleError(f"{bundle.path} has no receipts", remedy="export it with --eval-data")
    return bundle.manifest.receipts


def page(bundle: Bundle) -> str:
    """Return the receipts of a bundle as an HTML page.

    Raises:
        BundleError: no graph of the bundle has a receipt.
        MissingExtraError: matplotlib is not installed.
    """
    manifest = bundle.manifest
    receipts = receipts_of(bundle)
    require("bench")
    source = manifest.source
    plots = {"accuracy": _accuracy_plot(receipts)}
    blocks = [
        f"# {source.name}: how well it answers",
        verdict(receipts),
        f"Source: {source.kind} `{source.name}`, SHA-256 `{source.sha256}`. Exported {manifest.created}.",
        "## Accuracy of each precision",
        str(accuracy_table(receipts)),
        plot("accuracy", "F1 on the evaluation data, with 95 % bootstrap intervals."),
        scores_note(receipts),
        bullets(receipt_lines(receipts)),
        "## Agreement with the source model",
        str(precision_table(manifest)),
        PRECISION_NOTE,
        bullets(graph_lines(manifest)),
    ]
    if manifest.confidence:
        threshold = "off" if manifest.null_threshold is None else f"{manifest.null_threshold:.3f}"
        numbers = f"Temperature {manifest.temperature:.3f}, null threshold {threshold}"
        text = f"{numbers}, {calibration(manifest.confidence)}."
        blocks += ["## Confidence", text, plot("reliability", _RELIABILITY)]
        plots["reliability"] = _reliability_plot(manifest.confidence)
    versions = ReportTable(("package", "version"), [*manifest.versions.items()], texts=(0, 1))
    return to_html(f"{source.name}: receipt", "\n\n".join([*blocks, "## Made with", str(versions)]), plots)


PRECISION_NOTE = (
    "max diff, mean diff: of a start or end logit, beside the source model. same span: share of the windows with "
    "the same best span."
)


def scores_note(receipts: Mapping[str, Receipt]) -> str:
    """Return what the columns of `accuracy_table` are."""
    note = (
        "EM and F1 are those of always answering, also where the bundle has a null threshold. 95 %: bootstrap "
        "interval of F1. of fp32: share of its F1."
    )
    if _have_change(receipts):
        note += (
            " change: 95 % interval of F1 minus fp32's on the same questions; if 0 is in it, the difference may "
            "be chance."
        )
    return note


def verdict(receipts: Mapping[str, Receipt]) -> str:
    """Return in a sentence how well the precisions answer, and whether each reaches its gate."""
    scores = [f"{name} has F1 {one.accuracy.f1:.2f}" for name, one in receipts.items()]
    first = next(iter(receipts.values()))
    data = {f"{number_of(one.n, 'question')} of {one.data}" for one in receipts.values()}
    if "fp32" not in receipts:
        scores.append(f"fp32 had F1 {first.fp32.f1:.2f}")
    missed = [name for name, one in receipts.items() if one.percent_of_fp32 < one.gate]
    gate = " or ".join(sorted({f"{one.gate:g} % of fp32's" for one in receipts.values()}))
    gates = f"{', '.join(missed)} below the gate of {gate}" if missed else f"the gate of {gate} is reached"
    return f"{', '.join(scores)}, on {' and '.join(sorted(data))}; {gates}."


def precision_table(
    manifest: Manifest,
    columns: Sequence[str] = ("precision", "MB", "graph", "max diff", "mean diff", "same span", "engines"),
) -> ReportTable:
    """Return a row for each precision: size, graph, accuracy, and agreement of its logits with the source model's.

    Args:
        manifest: of the bundle.
        columns: those to show, of the ones above, "F1" and "of fp32".
    """
    rows = []
    for name, graph in manifest.graphs.items():
        receipt, parity = graph.receipt, graph.parity
        cells = {
            "precision": name,
            "MB": f"{graph.size / 1e6:.1f}",
            "graph": graph.kind,
            "F1": f"{receipt.accuracy.f1:.2f}" if receipt else "-",
            "of fp32": f"{receipt.percent_of_fp32:.2f} %" if receipt else "-",
            "max diff": f"{parity.max_abs:.2g}" if parity else "-",
            "mean diff": f"{parity.mean_abs:.2g}" if parity else "-",
            "same span": f"{parity.same_best_span:.1%}" if parity else "-",
            "engines": ", ".join(graph.backends),
        }
        rows.append([cells[column] for column in columns])
    texts = [at for at, column in enumerate(columns) if column in {"precision", "graph", "engines"}]
    return ReportTable(columns, rows, texts=texts)


def graph_lines(manifest: Manifest) -> Iterator[str]:
    """Yield the fused nodes of each precision, and what it was compared with."""
    for name, graph in manifest.graphs.items():
        nodes = ", ".join(f"{count} {node}" for node, count in graph.fused_nodes.items())
        beside = "not compared with a source model"
        if graph.parity:
            beside = f"{graph.parity.windows} windows compared with {graph.parity.reference}"
        yield f"{name}: {f'fused nodes: {nodes}' if nodes else 'no fused nodes'}; {beside}"


def accuracy_table(receipts: Mapping[str, Receipt]) -> ReportTable:
    """Return a row for each precision: its scores, and the data; the change only if a receipt has it."""
    changed = _have_change(receipts)
    rows = [
        (
            name,
            f"{receipt.accuracy.em:.2f}",
            f"{receipt.accuracy.f1:.2f}",
            "{:.1f}-{:.1f}".format(*receipt.accuracy.f1_interval),
            f"{receipt.percent_of_fp32:.2f} %",
            *([_change(receipt)] if changed else []),
            f"{receipt.gate:g} %",
            f"{receipt.n:,}",
            receipt.data,
        )
        for name, receipt in receipts.items()
    ]
    change = ("change",) if changed else ()
    head = ("precision", "EM", "F1", "95 %", "of fp32", *change, "gate", "questions", "data")
    return ReportTable(head, rows, texts=(0, len(head) - 1))


def _have_change(receipts: Mapping[str, Receipt]) -> bool:
    return any(receipt.f1_change_interval for receipt in receipts.values())


def _change(receipt: Receipt) -> str:
    interval = receipt.f1_change_interval
    return "{:+.2f} to {:+.2f}".format(*interval) if interval else "-"


def receipt_lines(receipts: Mapping[str, Receipt]) -> Iterator[str]:
    """Yield what was measured beside each precision, where, and the nodes that were kept back."""
    for name, receipt in receipts.items():
        yield (
            f"{name}: on the same questions {receipt.source_name} has EM {receipt.source.em:.2f} and F1 "
            f"{receipt.source.f1:.2f}, fp32 EM {receipt.fp32.em:.2f} and F1 {receipt.fp32.f1:.2f}; measured "
            f"{receipt.date[:10]} in {receipt.engine} on a CPU with "
            f"{', '.join(receipt.instruction_sets) or 'unknown instruction sets'}"
        )
        if by_characters := receipt.settings.get("f1_by_characters"):
            yield f"{name}: F1 by characters for {by_characters:,} of {receipt.n:,} questions"
        for node in receipt.kept_back:
            yield f"{name}: stays in fp32: {node}"


def calibration(confidence: Confidence) -> str:
    """Return what temperature and null threshold were fitted on, and the error before and after."""
    return (
        f"fitted on {confidence.fitted_n:,} questions of {confidence.fitted_on}: expected calibration "
        f"error {confidence.ece_before:.2f} % before, {confidence.ece_after:.2f} % after, on "
        f"{confidence.checked_n:,} of {confidence.checked_on}"
    )


def _accuracy_plot(receipts: Mapping[str, Receipt]) -> str:
    first = next(iter(receipts.values()))
    points = [(first.source_name, first.source), *((name, one.accuracy) for name, one in receipts.items())]
    look = {"color": INK, "marker": "o"}
    axes = interval_plot([(name, accuracy.f1, accuracy.f1_interval, look) for name, accuracy in points])
    gate = first.gate / 100 * first.fp32.f1
    axes.axvline(gate, color=INK, linestyle="--", linewidth=1, zorder=0)
    axes.set_xlabel(f"F1 (%); dashed: the gate, {gate:.2f}")
    return svg(axes)


def _reliability_plot(confidence: Confidence) -> str:
    axes = new_axes(height=4)
    axes.plot((0, 1), (0, 1), color=INK, linewidth=1, linestyle=":")
    for label, error, bins, marker, face, line in (
        ("before", confidence.ece_before, confidence.before, "s", PAPER, "--"),
        ("after", confidence.ece_after, confidence.after, "o", INK, "-"),
    ):
        x, y = [item.confidence for item in bins], [item.accuracy for item in bins]
        axes.plot(x, y, color=INK, linewidth=0.8, linestyle=line, zorder=1)
        sizes = [20 + 600 * item.n / confidence.checked_n for item in bins]
        axes.scatter(
            x, y, s=sizes, marker=marker, facecolor=face, edgecolor=INK, zorder=2,
            label=f"{label} (error {error:.1f} %)",
        )  # fmt: skip
    axes.set_xlabel("probability of the answer")
    axes.set_ylabel("share of exact answers")
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.05)
    for handle in legend_below(axes).legend_handles:
        handle.set_sizes([50])
    return svg(axes)
