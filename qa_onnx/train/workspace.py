"""Folders of a run: its state while it is at work, and the result, which appears in DIR by a rename.

DIR.partial/      state.safetensors, best-<step>.safetensors, teacher-logits.float16
DIR.partial/model the result, while it is written
DIR.partial/old   the previous content of DIR, between two renames
DIR               the result, once it is complete; unchanged until then
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import TrainError
from qa_onnx.machine.files import os_errors
from qa_onnx.machine.locks import LockBusyError, locked
from qa_onnx.train.state import STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger(__name__)

RECORD = "training.json"
LOCK = "lock"


class Workspace:
    """Folders of a run whose result goes to the folder `to`.

    Raises:
        TrainError: it is a file, a file system of its own, cannot be looked at, or holds files that are not of
            a run.
    """

    def __init__(self, to: str | Path) -> None:
        self.to = Path(to)
        name = self.to.resolve().name
        if not name:
            raise TrainError(f"{to} is the root folder, which cannot be replaced: name another folder")
        self.work = self.to.resolve().with_name(f"{name}.partial")
        self.stage = self.work / "model"
        self._old = self.work / "old"
        with os_errors(TrainError, f"cannot write to {to}"):
            self._check_kind()

    def _check_kind(self) -> None:
        if self.to.exists() and not self.to.is_dir():
            raise TrainError(f"{self.to} is a file: name a folder")
        if os.path.ismount(self.to):
            raise TrainError(f"{self.to} is a mount point, which cannot be replaced: name a folder in it")
        if self.to.exists() and not self.finished and any(self.to.iterdir()):
            raise TrainError(f"{self.to} holds other files than a trained model: name another folder")

    @property
    def finished(self) -> dict[str, Any] | None:
        """The record of the run whose result the folder holds; None: there is none, or another training.json."""
        try:
            record = json.loads((self.to / RECORD).read_bytes())
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and {"base", "run"} <= record.keys() else None

    @property
    def unfinished(self) -> bool:
        """Whether there is the state of a run that did not come to its end."""
        return (self.work / STATE).exists()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the work folder; at the end it is removed if nothing is in it.

        Raises:
            TrainError: another run is at work there, or the folder cannot be created.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._remove_empty)
            try:
                held = stack.enter_context(locked(self.work / LOCK))
            except LockBusyError as error:
                raise TrainError(
                    f"another run is at work in {self.work} ({error}): name another folder, or wait"
                ) from error
            except OSError as error:
                raise TrainError(f"cannot write to {self.work}: {error.strerror}") from error
            if not held:
                _LOG.warning("%s cannot be locked: let no other run write there now", self.work)
            if self._old.exists() and not self.to.exists():
                self._old.rename(self.to)  # a run was killed between two renames
            yield

    def _remove_empty(self) -> None:
        """Remove the work folder if nothing is in it."""
        with contextlib.suppress(OSError):
            self.work.rmdir()

    def check(self, *, resume: bool, replace: bool) -> None:
        """Check that a run would overwrite nothing that the user did not allow.

        Raises:
            TrainError: it would.
        """
        if self.finished and not replace and not (resume and self.unfinished):
            raise TrainError(f"{self.to} holds a finished model: name another folder, or train with --replace")
        if self.unfinished and not (resume or replace):
            raise TrainError(f"{self.work} holds an unfinished run: continue with --resume, or --replace it")

    def clear(self, *, resume: bool) -> None:
        """Remove what an earlier run left in the work folder, its state only if it is not resumed.

        Raises:
            TrainError: it cannot be removed.
        """
        with os_errors(TrainError, f"cannot clear {self.work}"):
            for path in self.work.iterdir():
                if path.name != LOCK and (not resume or path == self.stage):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def commit(self) -> None:
        """Move the staged result to its folder, and remove the run's state.

        Raises:
            TrainError: it cannot be moved; the run's state is kept.
        """
        target = self.to.resolve()
        try:
            if target.exists():
                shutil.rmtree(self._old, ignore_errors=True)
                target.rename(self._old)
            self.stage.rename(target)
        except OSError as error:
            if self._old.exists() and not target.exists():
                self._old.rename(target)
            raise TrainError(f"cannot write {target}: {error.strerror}; go on with --resume") from error
        shutil.rmtree(self.work, ignore_errors=True)
