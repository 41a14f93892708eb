"""Which packages each kind of export needs, and the pip line for those that are missing."""

from __future__ import annotations

from importlib.util import find_spec

from qa_onnx.errors import MissingExtraError
from qa_onnx.session import import_runtime


def require_quantize() -> None:
    """Check for what an import of a finished ONNX model needs.

    Raises:
        MissingExtraError: something is not installed.
        EngineError: ONNX Runtime is installed twice.
    """
    _require("quantize", "onnx")
    if find_spec("onnxruntime") is None:
        raise MissingExtraError("export needs an ONNX Runtime: pip install 'qa-onnx[cpu]'")
    import_runtime()  # the first import of it in a process decides about its telemetry


def require_export() -> None:
    """Check for what the export of a PyTorch checkpoint needs.

    Raises:
        MissingExtraError: something is not installed.
    """
    _require("export", "torch", "transformers", "optimum", "requests", "onnx")  # which it brings as well
    require_quantize()


def _require(extra: str, *packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingExtraError(f"{', '.join(missing)} not installed: pip install 'qa-onnx[{extra}]'")
