"""TensorRT in ONNX Runtime: the options of its provider, and the folder that keeps what it compiles.

TensorRT compiles a graph for one GPU and a range of shapes, which takes minutes; the result is kept in the user's
cache folder, never in the bundle. Option names: onnxruntime's page "TensorRT Execution Provider".
"""

from __future__ import annotations

import ctypes
import hashlib
from typing import TYPE_CHECKING, Any

from qa_onnx.engines.padding import bucket_of, length_buckets
from qa_onnx.machine.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MOST_ROWS = 64  # of a run; a larger batch is cut
_USUAL = (8, 384)  # rows and tokens to be fastest at
_KEY_LENGTH = 32  # hex digits


def provider_options(names: Sequence[str], *, longest: int, precision: str, cache: Path) -> dict[str, str]:
    """Options of the TensorRT provider.

    Args:
        names: of the graph's inputs.
        longest: tokens that the model reads at most.
        precision: of the bundle. TensorRT may compute in fp16 only for "fp16", in int8 only for "int8-static".
        cache: an existing folder for compiled engines, and for no other graph's.
    """
    buckets = length_buckets(longest)
    usual = (_USUAL[0], bucket_of(min(_USUAL[1], longest), buckets))
    options = {
        "trt_profile_min_shapes": profile(names, (1, buckets[0])),
        "trt_profile_opt_shapes": profile(names, usual),
        "trt_profile_max_shapes": profile(names, (MOST_ROWS, longest)),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(cache),
    }
    if precision == "fp16":
        # The powers and sums of a layer norm pass the range of fp16.
        options |= {"trt_fp16_enable": "True", "trt_layer_norm_fp32_fallback": "True"}
    if precision == "int8-static":
        options["trt_int8_enable"] = "True"
    return options


def profile(names: Sequence[str], shape: tuple[int, int]) -> str:
    """One shape for all inputs, as the options write it: "input_ids:1x32,attention_mask:1x32"."""
    return ",".join(f"{name}:{shape[0]}x{shape[1]}" for name in names)


def engine_folder(graph: Path, *, gpu: str, versions: str, plan: str) -> Path:
    """The folder for what is compiled of a graph here; it is made.

    Compiled engines are programs that TensorRT runs unchecked, so no other user may write there.

    Args:
        graph: the ONNX file; its content counts, not its name.
        gpu: name of the GPU.
        versions: of what compiles.
        plan: precision and shapes.
    """
    with graph.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    key = hashlib.sha256("\0".join((content, gpu, versions, plan)).encode()).hexdigest()[:_KEY_LENGTH]
    folder = cache_folder("tensorrt", key)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def version(library: str, load: Callable[[str], Any] = ctypes.CDLL) -> str:
    """What TensorRT's library, such as libnvinfer.so.10, says of its version; "unknown" where it does not load."""
    try:
        return str(load(library).getInferLibVersion())
    except (OSError, AttributeError):
        return "unknown"
