"""Checkpoint, or objects of transformers -> bundle in the user's cache, exported at first use.

    $XDG_CACHE_HOME/qa-onnx or ~/.cache/qa-onnx
        checkpoints/<name>-<hash>-<precision>/      a bundle; the hash is that of the checkpoint's files
        objects/<name>-<hash>-<precision>/          likewise of objects; removed when unused for a week
        .../.building-<random>/                     an export at work; the next one removes it if it was killed

A bundle is written under a temporary name and then renamed, so it is complete or absent. Several processes may
export the same one at once; the first one's stays. A damaged bundle is replaced. Loading needs no extra.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from qa_onnx.bundle.folder import Bundle
from qa_onnx.bundle.manifest import FORMAT_VERSION
from qa_onnx.errors import BundleError, ExportError, InputError
from qa_onnx.export.checkpoint import load_tokenizer, quiet
from qa_onnx.export.exporter import export_source
from qa_onnx.export.finished import FinishedModel, find_finished
from qa_onnx.export.locate import TOKENIZER_FILES, find_checkpoint, reason
from qa_onnx.export.opened import check_folder, check_tokenizer
from qa_onnx.export.safetensors_header import INDEX
from qa_onnx.export.settings import EvaluationSettings, ExportSettings
from qa_onnx.export.source import require_tools
from qa_onnx.export.untrusted_files import real_file
from qa_onnx.machine.cache import cache_folder
from qa_onnx.machine.files import os_errors
from qa_onnx.machine.locks import work_folder
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from qa_onnx.export.opened import OpenedCheckpoint

_LOG = logging.getLogger(__name__)

# Files that a bundle is made of: weights, configuration, tokenizer; training leaves others beside them.
_ONNX = {".onnx", ".onnx_data", ".data"}
_SUFFIXES = {".safetensors", ".json", ".txt", ".model", *_ONNX}
_BUILDING = ".building-"
_UNUSED = 7 * 86_400  # seconds

_T = TypeVar("_T")


def load_cached(
    checkpoint: str | Path,
    precision: str,
    load: Callable[[Path], _T],
    *,
    download: Mapping[str, Any] | None = None,
    cache: Literal["checkpoints", "objects"] = "checkpoints",
) -> _T:
    """Load the bundle of a checkpoint; export it if it is not in the cache.

    Args:
        checkpoint: a folder or hub id, as for `export`.
        precision: the only precision of the bundle.
        load: opens the bundle's folder; if it raises a BundleError, the bundle is exported again.
        download: for a hub id, arguments of huggingface_hub's `snapshot_download`, such as revision and token.
        cache: the part of the cache.

    Raises:
        MissingExtraError: there is no bundle yet, and packages for an export are not installed.
        ExportError: the checkpoint does not exist or cannot be exported, or the cache cannot be written to.
        InputError: there is no such precision.
    """
    folder, revision = find_checkpoint(str(checkpoint), **(download or {}))
    name = Path(checkpoint).resolve().name
    clean = re.sub(r"[^\w.-]+", "-", name)
    source = find_finished(folder) or check_folder(folder, name=name, revision=revision)
    entry = _folder(cache) / f"{clean}-{_sha256(source)[:16]}-{precision}"
    try:
        bundle = load(entry)
    except BundleError as error:
        if entry.exists():
            _LOG.info("%s", error)
    else:
        with contextlib.suppress(OSError):  # a cache that cannot be written to
            os.utime(entry)
        return bundle
    require_tools(source)
    with _cache_errors(entry.parent), _scratch(entry.parent) as scratch, _progress(name, folder, entry):
        _build(source, precision, entry, scratch)
    return load(entry)


def load_objects(
    model: Any,
    tokenizer: Any,
    precision: str,
    load: Callable[[Path], _T],
    *,
    download: Mapping[str, Any] | None = None,
) -> _T:
    """Load the bundle of a model and a tokenizer of transformers or optimum; export it if it is not in the cache.

    Args:
        model: has `save_pretrained`; or a folder or hub id, of which the tokenizer is replaced.
        tokenizer: has `save_pretrained`; or a folder or hub id.
        precision: as for `load_cached`; so are `load` and `download`.
        load: see there.
        download: see there.

    Raises:
        InputError: an object cannot be saved, or has no weights of PyTorch or ONNX.
        MissingExtraError: see `load_cached`.
        ExportError: see `load_cached`.
    """
    require("export", onnxruntime=True)
    named = isinstance(model, (str, Path))
    name = str(model) if named else getattr(model, "name_or_path", "") or type(model).__name__
    root = _folder("objects")
    source = None
    if named:  # what is not safe is refused before the tokenizer is loaded
        theirs = find_checkpoint(str(model), **(download or {}))[0]
        source = find_finished(theirs) or check_folder(theirs)
    with _cache_errors(root), _scratch(root) as scratch:
        folder = scratch / (Path(name).name or "model")
        folder.mkdir()
        _save("tokenizer", _tokenizer(tokenizer, download or {}), folder)
        if source is None:
            _save("model", model, folder)
            if not find_finished(folder) and not any(folder.glob("*.safetensors")):
                raise InputError(
                    f"model is a {type(model).__name__}, which saves no weights of PyTorch or ONNX",
                    remedy="in transformers 4, from_pretrained(folder, from_tf=True) makes a PyTorch model of it",
                )
        else:
            _link_weights(source, folder)
        return load_cached(folder, precision, load, cache="objects")


def _folder(cache: str) -> Path:
    """Return the folder of a part of the cache."""
    try:
        return cache_folder(cache)
    except OSError as error:
        raise ExportError(f"cannot keep a bundle: {error}") from error


def _tokenizer(tokenizer: Any, download: Mapping[str, Any]) -> Any:
    """Return the tokenizer of a folder or hub id, or an object as it is."""
    if not isinstance(tokenizer, (str, Path)):
        return tokenizer
    how = {name: value for name, value in download.items() if name != "revision"}  # which is the model's
    try:
        opened = check_tokenizer(find_checkpoint(str(tokenizer), files=TOKENIZER_FILES, **how)[0])
        with opened.staged() as stage:
            return load_tokenizer(opened, stage)[0]
    except ExportError as error:
        raise InputError(f"transformers cannot load the tokenizer {tokenizer}: {error}") from error


def _link_weights(source: OpenedCheckpoint | FinishedModel, folder: Path) -> None:
    """Put the weights and the configuration of a checkpoint or a finished ONNX model into another folder."""
    if isinstance(source, FinishedModel):
        for name, path in _source_files(source).items():
            if name == "config.json" or Path(name).suffix in _ONNX:
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, folder / name)  # onnx reads neither links nor files with several names
        return
    for name in ("config.json", INDEX):
        if name in source.texts:
            (folder / name).write_bytes(source.texts[name])
    for name, path in source.weights.files.items():
        try:
            os.link(path.resolve(), folder / name)
        except OSError:  # of another file system, or another user's
            shutil.copyfile(path, folder / name)


def _save(name: str, saved: Any, folder: Path) -> None:
    """Write an object of transformers or optimum into a folder."""
    try:
        with quiet():
            saved.save_pretrained(folder)
    except Exception as error:  # of any class: it is the object's own code
        raise InputError(f"{name}.save_pretrained fails for {type(saved).__name__}: {reason(error)}") from error


def _sha256(source: OpenedCheckpoint | FinishedModel) -> str:
    """Return the hash of the names and contents of a checkpoint's files, and of the format of bundles."""
    digest = hashlib.sha256(repr(FORMAT_VERSION).encode())  # a release with a newer format exports again
    for name, path in sorted(_source_files(source).items()):
        digest.update(name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _source_files(source: OpenedCheckpoint | FinishedModel) -> dict[str, Path]:
    """Return the files that a bundle is made of, by their names in the folder, after they were checked."""
    folder = source.folder
    if not isinstance(source, FinishedModel):
        return {**{name: folder / name for name in source.texts}, **source.weights.files}
    paths = [path for path in [*folder.iterdir(), *folder.glob("onnx/*")] if path.suffix in _SUFFIXES]
    found = {path.relative_to(folder).as_posix(): real_file(path) for path in paths if path.is_file()}
    return {name: path for name, path in found.items() if path is not None}


def _cache_errors(cache: Path) -> AbstractContextManager[None]:
    """Return a context that turns errors of the file system into one that names the cache."""
    return os_errors(
        ExportError,
        f"cannot write to the cache {cache}",
        remedy="set XDG_CACHE_HOME to a writable folder, or pass a bundle that qa-onnx export made",
    )


@contextlib.contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """Make a folder in the cache for the time of an export; remove those of killed exports, and unused bundles."""
    with work_folder(cache, _BUILDING) as scratch:
        for path in cache.iterdir() if cache.name == "objects" else ():
            with contextlib.suppress(OSError):
                if not path.name.startswith(_BUILDING) and time.time() - path.stat().st_mtime > _UNUSED:
                    shutil.rmtree(path)
        yield scratch


@contextlib.contextmanager
def _progress(name: str, folder: Path, entry: Path) -> Iterator[None]:
    """Show on a terminal that an export is at work, and how large its bundle is; log both elsewhere."""
    begin = f"exporting {name} ({_megabytes(folder):.0f} MB) for the first use"
    started = time.perf_counter()
    if sys.stderr is None or not sys.stderr.isatty():
        _LOG.info("%s", begin)
        yield
        _LOG.info("wrote %s (%.0f MB) in %.1f s", entry, _megabytes(entry), time.perf_counter() - started)
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(finished_text=" "), TextColumn("{task.description}"), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task(begin, total=1)
        yield
        done = f"exported {name}: {_megabytes(entry):.0f} MB in {entry.parent}"
        progress.update(task, description=done, completed=1)


def _megabytes(folder: Path) -> float:
    """Return the size of the files that a bundle is made of, or consists of."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in _SUFFIXES) / 1e6


def _build(source: OpenedCheckpoint | FinishedModel, precision: str, entry: Path, scratch: Path) -> None:
    """Export a checkpoint into the cache, unless another process is faster."""
    bundle = scratch / "bundle"
    settings = ExportSettings(precisions=(precision,), evaluation=EvaluationSettings())
    with os_errors(ExportError, f"cannot export {source.folder}"):
        export_source(source, bundle, settings)
    for attempt in range(3):  # other processes may replace the entry at the same time
        try:
            bundle.rename(entry)
        except OSError:
            if _is_whole(entry):
                return
            with contextlib.suppress(OSError):
                entry.rename(scratch / f"damaged-{attempt}")
        else:
            return
    bundle.rename(entry)


def _is_whole(folder: Path) -> bool:
    """Tell whether a folder is a bundle whose files have the right hashes."""
    try:
        return not Bundle.load(folder).damaged_files()
    except BundleError:
        return False
