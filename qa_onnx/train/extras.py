"""What training needs installed, and the pip line for what is missing."""

from __future__ import annotations

from importlib.util import find_spec

from qa_onnx.errors import MissingExtraError

_PACKAGES = ("torch", "transformers", "optimum", "safetensors", "matplotlib")


def require_train() -> None:
    """Check for what training needs.

    Raises:
        MissingExtraError: something is not installed.
    """
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise MissingExtraError(f"{', '.join(missing)} not installed: pip install 'qa-onnx[train]'")
