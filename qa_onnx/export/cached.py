"""Checkpoint -> bundle in the user's cache, exported at first use.

    $XDG_CACHE_HOME/qa-onnx/checkpoints or ~/.cache/qa-onnx/checkpoints
        <name>-<hash>-<precision>/      a bundle; the hash is that of the checkpoint's files
        .building-<random>/             an export at work; a later one removes it if it was killed

A bundle is written under a temporary name and then renamed, so it is complete or absent. Several processes may
export the same one at once; the first one's stays. A damaged bundle is replaced. Loading needs no extra.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qa_onnx.bundle.folder import Bundle
from qa_onnx.errors import BundleError, ExportError
from qa_onnx.export.checkpoint import find_checkpoint
from qa_onnx.export.finished import find_onnx
from qa_onnx.machine.cache import cache_folder
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)

# Files that a bundle is made of: weights, configuration, tokenizer; training leaves others beside them.
_SUFFIXES = {".safetensors", ".json", ".txt", ".model", ".onnx", ".onnx_data", ".data"}
_BUILDING = ".building-"
_STALE = 86_400  # seconds; no export takes a day

_T = TypeVar("_T")


def load_cached(checkpoint: str | Path, precision: str, load: Callable[[Path], _T]) -> _T:
    """Load the bundle of a checkpoint; export it if it is not in the cache.

    Args:
        checkpoint: a folder or hub id, as for `export`.
        precision: the only precision of the bundle.
        load: opens the bundle's folder; if it raises a BundleError, the bundle is exported again.

    Raises:
        MissingExtraError: there is no bundle yet, and packages for an export are not installed.
        ExportError: the checkpoint does not exist or cannot be exported, or the cache cannot be written to.
        InputError: there is no such precision.
    """
    folder, _ = find_checkpoint(str(checkpoint))
    name = re.sub(r"[^\w.-]+", "-", Path(checkpoint).resolve().name)
    try:
        entry = cache_folder("checkpoints", f"{name}-{_sha256(folder)[:16]}-{precision}")
    except OSError as error:
        raise ExportError(f"cannot keep a bundle of {checkpoint}: {error}") from error
    try:
        return load(entry)
    except BundleError as error:
        _LOG.info("%s", error)
    require("quantize" if find_onnx(folder) else "export", onnxruntime=True)
    try:
        _build(checkpoint, precision, entry)
    except OSError as error:
        raise ExportError(
            f"cannot write to the cache {entry.parent}: {error.strerror}",
            remedy="set XDG_CACHE_HOME to a writable folder, or pass a bundle that qa-onnx export made",
        ) from error
    return load(entry)


def _sha256(folder: Path) -> str:
    """Return the hash of the names and contents of a checkpoint's files."""
    digest = hashlib.sha256()
    for path in sorted([*folder.iterdir(), *folder.glob("onnx/*")]):
        if path.suffix in _SUFFIXES and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _build(checkpoint: str | Path, precision: str, entry: Path) -> None:
    """Export a checkpoint into the cache, unless another process is faster."""
    from qa_onnx.export.exporter import export

    entry.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(entry.parent)
    with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=entry.parent) as scratch:
        _LOG.info("exporting %s to %s, once", checkpoint, entry)
        bundle = Path(scratch, "bundle")
        export(checkpoint, bundle, precisions=(precision,))
        for attempt in range(3):  # other processes may replace the entry at the same time
            try:
                bundle.rename(entry)
            except OSError:
                if _is_whole(entry):
                    return
                with contextlib.suppress(OSError):
                    entry.rename(Path(scratch, f"damaged-{attempt}"))
            else:
                return
        bundle.rename(entry)


def _is_whole(folder: Path) -> bool:
    """Tell whether a folder is a bundle whose files have the right hashes."""
    try:
        bundle = Bundle.load(folder)
        for file in bundle.manifest.files():
            bundle.checked_path(file)
    except BundleError:
        return False
    return True


def _remove_stale(cache: Path) -> None:
    """Remove the folders of killed exports."""
    for path in cache.glob(f"{_BUILDING}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path)
