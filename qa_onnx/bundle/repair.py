"""A bundle's folder -> what to do when files in it are missing or damaged, or when it is no bundle."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from qa_onnx.machine.files import did_you_mean
from qa_onnx.machine.regular_files import hub_cache_of, real

if TYPE_CHECKING:
    from pathlib import Path


def how_to_repair(folder: Path) -> str:
    """Return what to do about a bundle's folder in which files are missing or damaged."""
    if cache := hub_cache_of(folder):
        return f"remove {cache}, and the next load fetches it again"
    return "export it again, or copy it again from an undamaged one"


def meant_bundle(path: str | Path) -> str:
    """Return "did you mean X?" with a folder or .qab file that is much like a path that does not exist."""
    return did_you_mean(path, lambda found: found.is_dir() or (found.suffix == ".qab" and found.is_file()))


def why_no_bundle(folder: Path, manifest: str) -> tuple[str, str]:
    """Return what a path without a manifest in it is, and how to get a bundle."""
    target = shlex.quote(f"exported/{real(folder).name}")
    convert = f"qa-onnx export {shlex.quote(str(folder))} --to {target} makes a bundle of it, in {target}"
    create = f"qa-onnx export CHECKPOINT --to {shlex.quote(str(folder))} makes one"
    if not folder.exists():
        return "it does not exist", meant_bundle(folder) or create
    if not folder.is_dir():
        return "it is neither a folder nor a regular file", ""
    if any(next(folder.glob(names), None) for names in ("*.safetensors", "pytorch_model*.bin")):
        return "it is a checkpoint", convert
    if any((folder / name).is_file() for name in ("model.onnx", "onnx/model.onnx")):
        return "it is a folder with a finished ONNX model", convert
    inside = sorted(path.parent.name for path in folder.glob(f"*/{manifest}"))
    if inside:
        return f"it has no {manifest}, but folders in it are bundles", f"name one of {', '.join(inside[:5])}"
    return f"it has no {manifest}", create
