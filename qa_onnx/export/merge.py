"""An existing bundle and a new export into its folder: what of the old one can stay?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.bundle.folder import MANIFEST, Bundle, read_manifest
from qa_onnx.errors import BundleError, BundleFormatError, ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qa_onnx.bundle.manifest import Manifest
    from qa_onnx.export.model import SourceModel


def existing(folder: Path, *, replace: bool) -> Manifest | None:
    """The manifest of the bundle in a folder; None if there is none, or it is damaged and may be replaced.

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
        raise ExportError(f"{error}; export with --replace to write a new bundle in its place") from error


def same_source(
    folder: Path, old: Manifest | None, model: SourceModel, precisions: Sequence[str], *, replace: bool
) -> Manifest | None:
    """The old manifest if its graphs, those of `precisions` apart, can stay; None if there is nothing to keep.

    Raises:
        ExportError: it is of another source, or damaged, and `replace` is not set.
    """
    if old is None:
        return None
    same = (old.source.sha256, set(old.inputs), old.pad_id, old.cls_id, old.max_positions) == (
        model.source.sha256,
        set(model.inputs),
        model.pad_id,
        model.cls_id,
        model.max_positions,
    )
    bundle = Bundle(folder, old)
    try:
        if same and bundle.text(old.tokenizer) == model.tokenizer_json:
            for precision in old.graphs.keys() - set(precisions):
                bundle.checked_path(old.graphs[precision].file)
                bundle.checked_path(old.graphs[precision].golden)
            return old
    except BundleError as error:
        if replace:
            return None
        raise ExportError(f"{error}; export with --replace to write a new bundle in its place") from error
    if replace:
        return None
    raise ExportError(
        f"{folder} is a bundle of {old.source.name} (SHA-256 {old.source.sha256[:12]}...), not of this source: "
        "choose another folder with --to, or --replace it"
    )


def same_windows(
    folder: Path, old: Manifest | None, precisions: Sequence[str], max_length: int | None, *, replace: bool
) -> Manifest | None:
    """The old manifest if what was measured of its graphs still holds: all graphs of a bundle share max_length.

    Raises:
        ExportError: it would not, and `replace` is not set.
    """
    if old is None or max_length in {None, old.max_length} or not old.graphs.keys() - set(precisions):
        return old
    if replace:
        return None
    raise ExportError(
        f"{folder} has windows of {old.max_length} tokens, and {', '.join(old.graphs)} were measured with them: "
        f"choose another folder for {max_length} tokens with --to, or --replace them"
    )


def what_stays(folder: Path, manifest: Manifest, precision: str) -> str:
    """What becomes of a precision that missed the gate: an older graph stays if it is whole."""
    old = manifest.graphs.get(precision)
    if old is None:
        return f": not written to {folder}"
    try:
        bundle = Bundle(folder, manifest)
        bundle.checked_path(old.file)
        bundle.checked_path(old.golden)
    except BundleError:
        del manifest.graphs[precision]
        return f": not written to {folder}, and the damaged one that was there is gone"
    return f": not written to {folder}, where the older one stays"
