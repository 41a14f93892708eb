"""The user's cache folder: tuning profiles, TensorRT engines, exported checkpoints."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """Return a folder under $XDG_CACHE_HOME/qa-onnx, or ~/.cache/qa-onnx; it need not exist.

    Raises:
        OSError: the user has no home folder.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if Path(cache).is_absolute():  # the XDG specification says to ignore a relative one
        return Path(cache, "qa-onnx", *parts)
    try:
        home = Path.home()
    except RuntimeError as error:
        raise OSError(f"{error}: set XDG_CACHE_HOME to a folder") from error
    return Path(home, ".cache", "qa-onnx", *parts)
