"""The name of a checkpoint -> its folder on this machine, downloaded if it is an id on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.hub import refusals
from qa_onnx.errors import ExportError
from qa_onnx.machine.files import did_you_mean
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Sequence

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
TOKENIZER_FILES = ["*.json", "*.txt", "*.model"]
_HUB_FILES = [*TOKENIZER_FILES, "*.safetensors"]


def find_checkpoint(
    checkpoint: str, *, files: Sequence[str] = _HUB_FILES, **download: Any
) -> tuple[Path, str | None]:
    """Return the checkpoint's folder on this machine, and its revision if it came from the hub.

    Args:
        checkpoint: a folder or hub id.
        files: patterns of the files that are fetched from the hub.
        download: further arguments of huggingface_hub's `snapshot_download`, such as revision and token.

    Raises:
        ExportError: it is not a folder, and the hub does not give it.
        MissingExtraError: it is not a folder, and huggingface_hub is not installed.
    """
    check_name(checkpoint)
    path = Path(checkpoint)
    if path.is_dir():
        return path, None
    require("hub")
    from huggingface_hub import snapshot_download

    try:
        with refusals(ExportError, checkpoint, download.get("revision") or "main", meant=_meant_folder):
            snapshot = Path(snapshot_download(checkpoint, allow_patterns=list(files), **download))
    except ExportError:
        raise
    except Exception as error:  # of the network, or of a cache that cannot be written to: of any class
        raise ExportError(
            f"there is no folder {checkpoint}, and the hub cannot be reached: {reason(error)}",
            remedy=_meant_folder(checkpoint) or "check the network, or name a folder with the model's files",
        ) from error
    return snapshot, snapshot.name


def check_name(checkpoint: str) -> None:
    """Raise an ExportError if a name is not a folder and cannot be the id of a model on the hub."""
    path = Path(checkpoint)
    if not path.is_dir() and (path.exists() or not _HUB_ID.fullmatch(checkpoint)):
        raise ExportError(
            f"{checkpoint} is neither a folder nor the id of a model on the hub",
            remedy=_meant_folder(checkpoint),
        )


def _meant_folder(name: str) -> str:
    """Return "did you mean X?" with a folder that is much like a path that does not exist."""
    return did_you_mean(name, Path.is_dir)


def reason(error: Exception) -> str:
    """Return the message of an error in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
