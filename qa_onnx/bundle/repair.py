"""A bundle's folder -> what to do when files in it are missing or damaged; in the hub's cache: load it again."""

from __future__ import annotations

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
