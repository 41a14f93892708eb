"""Which packages each kind of export needs, and the pip line for those that are missing."""

from __future__ import annotations

from importlib.util import find_spec

from qa_onnx.errors import MissingExtraError


def require_quantize() -> None:
    """Check for what an import of a finished ONNX model needs.

    Raises:
        MissingExtraError: something is not installed.
    """
    _require("quantize", "onnx")
    if find_spec("onnxruntime") is None:
        raise MissingExtraError("export needs an ONNX Runtime: pip install 'qa-onnx[cpu]'")


def require_export() -> None:
    """Check for what the export of a PyTorch checkpoint needs.

    Raises:
        MissingExtraError: something is not installed.
    """
    require_quantize()
    _require("export", "torch", "transformers", "optimum", "requests")


def _require(extra: str, *packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingExtraError(f"{', '.join(missing)} not installed: pip install 'qa-onnx[{extra}]'")
