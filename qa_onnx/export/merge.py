"""Decide what of an existing bundle stays when an export writes into its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.bundle.files import MANIFEST
from qa_onnx.bundle.folder import Bundle, read_manifest
from qa_onnx.errors import BundleError, BundleFormatError, ExportError
from qa_onnx.export.tokenizer_check import same_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qa_onnx.bundle.manifest import Manifest
    from qa_onnx.export.model import SourceModel


def existing(folder: Path, *, replace: bool) -> Manifest | None:
    """Return the manifest of the bundle in a folder; None if there is none, or a damaged one may be replaced.

    Raises:
        BundleFormatError: it was written by a newer release.
        ExportError: it is damaged, and `replace` is not set.
    """
    if not (folder / MANIFEST).exists():
        return None
    try:
        return read_manifest(folder)
    except BundleFormatError:
        raise
    except BundleError as error:
        if replace:
            return None
        raise _damaged(error) from error


def reusable(
    folder: Path,
    old: Manifest | None,
    model: SourceModel,
    precisions: Sequence[str],
    max_length: int | None,
    *,
    replace: bool,
) -> Manifest | None:
    """Return the old manifest if its graphs, except those of `precisions`, can stay; None if there is none.

    Raises:
        ExportError: they cannot stay, and `replace` is not set.
    """
    try:
        if old is not None:
            _check(folder, old, model, precisions, max_length)
    except ExportError:
        if replace:
            return None
        raise
    return old


def _check(
    folder: Path, old: Manifest, model: SourceModel, precisions: Sequence[str], max_length: int | None
) -> None:
    """Raise an ExportError if a bundle has another source, damaged files, or other windows."""
    others = old.graphs.keys() - set(precisions)
    try:
        if not _same_source(folder, old, model):
            raise ExportError(
                f"{folder} is a bundle of {old.source.name} (SHA-256 {old.source.sha256[:12]}...), not of this "
                "source",
                remedy="choose another folder with --to, or --replace it",
            )
        for precision in others:
            _check_files(folder, old, precision)
    except BundleError as error:
        raise _damaged(error) from error
    if others and max_length not in {None, old.max_length}:
        raise ExportError(
            f"{folder} has windows of {old.max_length} tokens, which {', '.join(old.graphs)} were measured with",
            remedy=f"choose another folder for {max_length} tokens with --to, or --replace them",
        )


def _same_source(folder: Path, old: Manifest, model: SourceModel) -> bool:
    """Tell whether a bundle was made of this source model and tokenizer."""
    same = old.source.sha256 == model.source.sha256
    if not same:  # earlier bundles have the hash of the weights alone
        same = old.source.sha256 == model.weights_sha256 and old.architecture == model.architecture
    return (
        same
        and set(old.inputs) == set(model.inputs)
        and (old.pad_id, old.cls_id, old.max_positions) == (model.pad_id, model.cls_id, model.max_positions)
        and same_tokenizer(Bundle(folder, old).text(old.tokenizer), model.tokenizer_json)
    )


def _check_files(folder: Path, manifest: Manifest, precision: str) -> None:
    """Raise a BundleError if a file of a precision is missing or damaged."""
    bundle, graph = Bundle(folder, manifest), manifest.graphs[precision]
    for entry in filter(None, (graph.file, graph.data, graph.golden)):
        bundle.check(entry)


def _damaged(error: BundleError) -> ExportError:
    return ExportError(error.problem, remedy="export with --replace to write a new bundle in its place")


def what_stays(folder: Path, manifest: Manifest, precision: str) -> str:
    """Say what happens to a precision that missed the gate: an older graph stays if it is not damaged."""
    if precision not in manifest.graphs:
        return f"; it is not written to {folder}"
    try:
        _check_files(folder, manifest, precision)
    except BundleError:
        del manifest.graphs[precision]
        return f"; it is not written to {folder}, and the damaged older one is removed"
    return f"; it is not written to {folder}, and the older one stays"
