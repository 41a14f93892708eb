"""Staged files + manifest -> bundle; an existing bundle stays whole if the export stops at any point.

A run locks the bundle's folder and stages its files in a folder of its own inside it, under names by content. The
commit moves them and then replaces bundle.json: this one step makes the new bundle. Files that bundle.json does
not name any more are removed after it. What a killed run left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.bundle.files import MANIFEST, SIGNATURE
from qa_onnx.bundle.manifest import NAMED_BY_CONTENT, FileEntry
from qa_onnx.errors import ExportError
from qa_onnx.export.graph import data_file, name_data_file
from qa_onnx.machine.locks import LockBusyError, locked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qa_onnx.bundle.manifest import Manifest

_LOG = logging.getLogger(__name__)

_LOCK = ".export.lock"
_STAGE = ".export-"
# A second export waits, since both precisions are wanted in the one bundle. With an evaluation, one takes an hour.
_PATIENCE_S = 2 * 3600.0


class Writer:
    """Context manager that writes one version of a bundle and removes its staged files at the end.

    One export at a time writes to a folder, in whatever container or on whatever machine it runs; another one
    waits, and logs for whom.

    Args:
        folder: the bundle's folder; made if it does not exist.
        patience_s: seconds to wait for another export.

    Raises:
        ExportError: on entering, the folder cannot be written to, or another export does not end.
    """

    def __init__(self, folder: Path, *, patience_s: float = _PATIENCE_S) -> None:
        self.folder = folder
        self._patience_s = patience_s
        self._made = not folder.exists()
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> Writer:
        try:
            with contextlib.ExitStack() as stack:
                lock = locked(self.folder / _LOCK, patience_s=self._patience_s, waiting=self._tell)
                if stack.enter_context(lock):
                    self._clear_dead_stages()
                else:
                    _LOG.warning("%s cannot be locked: let no other export write there now", self.folder)
                self.stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=self.folder))
                self._before = self._manifest()
                self._lock = stack.pop_all()
        except LockBusyError as error:
            raise ExportError(
                f"another export is at work in {self.folder}: {error}",
                remedy="wait until it has ended, or choose another folder with --to",
            ) from error
        except OSError as error:
            raise ExportError(f"cannot write to {self.folder}: {error.strerror}") from error
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        shutil.rmtree(self.stage, ignore_errors=True)
        self._lock.close()
        if self._made:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # works only if it is empty
        if isinstance(error, OSError):
            raise ExportError(f"the export to {self.folder} stopped: {error}; the folder is unchanged") from error

    def _tell(self, holder: str) -> None:
        _LOG.info("waiting for another export into %s: %s", self.folder, holder)

    def _manifest(self) -> bytes | None:
        """Return the bytes of the bundle's manifest; None if there is none."""
        path = self.folder / MANIFEST
        return path.read_bytes() if path.exists() else None

    def add(self, kind: str, path: Path) -> FileEntry:
        """Rename a staged file by its content.

        Args:
            kind: model, weights, tokenizer or golden.
            path: the file, somewhere in `stage`.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        entry = FileEntry(f"{kind}-{digest[:16]}{path.suffix}", path.stat().st_size, digest)
        path.replace(self.stage / entry.name)
        return entry

    def add_graph(self, path: Path) -> tuple[FileEntry, FileEntry | None]:
        """Rename a staged ONNX file by its content, and first the file with its weights, if there is one.

        Returns:
            The graph and its weights.
        """
        data = data_file(path)
        if data is None:
            return self.add("model", path), None
        entry = self.add("weights", data)
        name_data_file(path, entry.name)
        return self.add("model", path), entry

    def add_text(self, kind: str, text: str) -> FileEntry:
        """Stage a JSON text as a file."""
        path = self.stage / "text.json"
        path.write_bytes(text.encode("utf-8"))
        return self.add(kind, path)

    def commit(self, manifest: Manifest) -> None:
        """Replace the bundle with the staged files and this manifest.

        Raises:
            ExportError: the disk is full, or files cannot be moved; the old bundle stays.
        """
        new: list[Path] = []
        try:
            if self._manifest() != self._before:  # on a file system without locks
                raise ExportError(
                    f"{self.folder} was changed by another program during this export; it is left as it is now",
                    remedy="export again",
                )
            for entry in manifest.files():
                staged, final = self.stage / entry.name, self.folder / entry.name
                if staged.exists():
                    _sync(staged)
                    if not final.exists():
                        new.append(final)
                    staged.replace(final)
            draft = self.stage / MANIFEST
            draft.write_text(manifest.to_json(), encoding="utf-8")
            _sync(draft)
            draft.replace(self.folder / MANIFEST)
        except OSError as error:
            _remove(new)
            raise ExportError(f"cannot write {self.folder}: {error.strerror}; it is unchanged") from error
        if (self.folder / SIGNATURE).exists():  # of the bundle before
            _remove([self.folder / SIGNATURE])
            _LOG.warning("the signature of %s was of the old bundle and is removed: qa-onnx sign", self.folder)
        named = {entry.name for entry in manifest.files()}
        _remove(
            path
            for path in self.folder.iterdir()
            if re.match(NAMED_BY_CONTENT, path.name) and path.name not in named
        )

    def _clear_dead_stages(self) -> None:
        """Remove the stages of killed exports: who holds the lock knows that nobody is at work in them."""
        for path in self.folder.glob(f"{_STAGE}*"):
            shutil.rmtree(path, ignore_errors=True)


def _remove(paths: Iterable[Path]) -> None:
    """Remove files that bundle.json does not name; a later run removes those that cannot be removed now."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
