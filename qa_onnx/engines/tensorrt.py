"""TensorRT in ONNX Runtime: options of its provider, and the cache folder of compiled engines.

TensorRT compiles a graph for one GPU and a range of shapes, which takes minutes. The result is kept in the user's
cache folder, never in the bundle. The options are those of ONNX Runtime's page "TensorRT Execution Provider".
"""

from __future__ import annotations

import ctypes
import hashlib
from typing import TYPE_CHECKING

from qa_onnx.engines.padding import bucket_of, length_buckets
from qa_onnx.machine.cache import cache_folder
from qa_onnx.machine.nvidia import TENSORRT_LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MOST_ROWS = 64  # of a run; a larger batch is split
_USUAL = (8, 384)  # rows and tokens of the shape to optimize for
_KEY_LENGTH = 32  # hex digits


def provider_options(names: Sequence[str], *, longest: int, precision: str, cache: Path) -> dict[str, str]:
    """Return the options of the TensorRT provider.

    Args:
        names: of the graph's inputs.
        longest: maximum tokens that the model reads.
        precision: of the bundle. TensorRT may compute in fp16 for "fp16" only.
        cache: an existing folder for the compiled engines of this graph alone.
    """
    buckets = length_buckets(longest)
    shapes = {
        "min": (1, buckets[0]),
        "opt": (_USUAL[0], bucket_of(min(_USUAL[1], longest), buckets)),
        "max": (MOST_ROWS, longest),
    }
    options = {
        f"trt_profile_{which}_shapes": ",".join(f"{name}:{rows}x{tokens}" for name in names)
        for which, (rows, tokens) in shapes.items()
    } | {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(cache),
    }
    if precision == "fp16":
        # Powers and sums of a layer norm exceed the range of fp16.
        options |= {"trt_fp16_enable": "True", "trt_layer_norm_fp32_fallback": "True"}
    return options


def engine_folder(model: bytes | Path, *, gpu: str, versions: str, plan: str) -> Path:
    """Create and return the folder for engines that are compiled from a graph on this machine.

    Compiled engines are programs that TensorRT runs unchecked, so no other user may write there.

    Args:
        model: the ONNX file, or its bytes; its content is part of the key, its name is not.
        gpu: name of the GPU.
        versions: of ONNX Runtime and TensorRT.
        plan: precision and shapes.
    """
    content = hashlib.sha256(model if isinstance(model, bytes) else model.read_bytes()).hexdigest()
    key = hashlib.sha256("\0".join((content, gpu, versions, plan)).encode()).hexdigest()[:_KEY_LENGTH]
    folder = cache_folder("tensorrt", key)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def version() -> str:
    """Return the version of TensorRT's library, such as "101600"; "unknown" if it does not load."""
    try:
        return str(ctypes.CDLL(TENSORRT_LIBRARIES[0]).getInferLibVersion())
    except (OSError, AttributeError):
        return "unknown"
