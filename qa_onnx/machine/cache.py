"""Where this user's machine keeps what can be made again: profiles, engines, exported checkpoints."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """A folder under $XDG_CACHE_HOME/qa-onnx, or ~/.cache/qa-onnx; it need not exist.

    Raises:
        OSError: the user has no home folder.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    if Path(named).is_absolute():  # the XDG specification has relative ones ignored
        return Path(named, "qa-onnx", *parts)
    try:
        home = Path.home()
    except RuntimeError as error:
        raise OSError(f"{error}: set XDG_CACHE_HOME to a folder") from error
    return Path(home, ".cache", "qa-onnx", *parts)
