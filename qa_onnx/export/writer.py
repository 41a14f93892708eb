"""Staged files + manifest -> bundle: nothing of an existing bundle is lost if the export stops anywhere.

A run stages its files in a folder of its own inside the bundle's. At the end they get their names by content,
and bundle.json is replaced: that one step makes the new bundle. Files that no manifest names any more are
removed after it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from typing import TYPE_CHECKING

from qa_onnx.bundle.folder import MANIFEST
from qa_onnx.bundle.manifest import FileEntry
from qa_onnx.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from qa_onnx.bundle.manifest import Manifest

_STAGE = re.compile(r"\.export-(\d+)")
_NAMED_BY_CONTENT = re.compile(r"(model|tokenizer|golden)-[0-9a-f]{16}\.(onnx|json)")


class Writer:
    """Writes one version of a bundle; use it as a context manager, which clears what it staged.

    Args:
        folder: the bundle's folder; made if it is not there.

    Raises:
        ExportError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = not folder.exists()
        self.stage = folder / f".export-{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._clear_dead_stages()
            self.stage.mkdir()
        except OSError as error:
            raise ExportError(f"cannot write to {folder}: {error.strerror}") from error

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        shutil.rmtree(self.stage, ignore_errors=True)
        if self._made:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # only if nothing came of it
        if isinstance(error, OSError):
            raise ExportError(f"the export to {self.folder} stopped: {error}; it is as it was") from error

    def add(self, kind: str, path: Path) -> FileEntry:
        """Give a staged file its name by content, still in the stage.

        Args:
            kind: model, tokenizer or golden.
            path: the file, somewhere in `stage`.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        entry = FileEntry(f"{kind}-{digest[:16]}{path.suffix}", path.stat().st_size, digest)
        path.replace(self.stage / entry.name)
        return entry

    def add_text(self, kind: str, text: str) -> FileEntry:
        """Stage a JSON text as a file of the bundle."""
        path = self.stage / "text.json"
        path.write_text(text, encoding="utf-8")
        return self.add(kind, path)

    def commit(self, manifest: Manifest) -> None:
        """Make the staged files and this manifest the bundle.

        Raises:
            ExportError: the disk is full, or files cannot be moved; the old bundle stays.
        """
        new: list[Path] = []
        try:
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
            raise ExportError(f"cannot write {self.folder}: {error.strerror}; it is as it was") from error
        named = {entry.name for entry in manifest.files()}
        _remove(
            path
            for path in self.folder.iterdir()
            if _NAMED_BY_CONTENT.fullmatch(path.name) and path.name not in named
        )

    def _clear_dead_stages(self) -> None:
        """Remove what killed runs left behind."""
        for path in self.folder.glob(".export-*"):
            match = _STAGE.fullmatch(path.name)
            if match and not _alive(int(match[1])):
                shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False  # of an earlier life of this number: this run has no stage yet
    if os.name != "posix":
        return True  # elsewhere os.kill would end the process instead of asking for it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(paths: Iterable[Path]) -> None:
    """Remove files that no manifest names; what cannot be removed is left for a later run."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _sync(path: Path) -> None:
    with path.open("r+b") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())
