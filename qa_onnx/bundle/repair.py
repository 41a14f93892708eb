"""A bundle's folder -> what to do when files in it are missing or damaged, or when it is no bundle."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def hub_cache_of(folder: Path) -> Path | None:
    """Return the folder of a repository in the hub's cache that a bundle's folder belongs to; None: to none."""
    return folder.parents[1] if folder.parent.name == "snapshots" else None


def how_to_repair(folder: Path) -> str:
    """Return what to do about a bundle's folder in which files are missing or damaged."""
    if cache := hub_cache_of(folder):
        return f"remove {cache}, and the next load fetches it again"
    return "export it again, or copy it again from an undamaged one"


def why_no_bundle(folder: Path, manifest: str) -> tuple[str, str]:
    """Return what a folder without a file of the manifest's name is, and how to get a bundle."""
    target = shlex.quote(f"exported/{folder.resolve().name}")
    convert = f"qa-onnx export {shlex.quote(str(folder))} --to {target} makes a bundle of it, in {target}"
    create = f"qa-onnx export CHECKPOINT --to {shlex.quote(str(folder))} makes one"
    if not folder.exists():
        return "it does not exist", create
    if not folder.is_dir():
        return "it is a file, and a bundle is a folder", ""
    if any(next(folder.glob(names), None) for names in ("*.safetensors", "pytorch_model*.bin")):
        return "it is a checkpoint", convert
    if any((folder / name).is_file() for name in ("model.onnx", "onnx/model.onnx")):
        return "it is a folder with a finished ONNX model", convert
    inside = sorted(path.parent.name for path in folder.glob(f"*/{manifest}"))
    if inside:
        return f"it has no {manifest}, but folders in it are bundles", f"name one of {', '.join(inside[:5])}"
    return f"it has no {manifest}", create
