"""A checkpoint -> a Reader that runs it in PyTorch, with windows, batches and span search as of a bundle."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qa_onnx import Options, Reader
from qa_onnx.machine.packages import require
from qa_onnx.session import RUN_OVERHEAD

if TYPE_CHECKING:
    from qa_onnx.engines.names import Device

TORCH_PRECISIONS = ("fp32", "bf16")


def torch_reader(
    checkpoint: str,
    *,
    precision: str = "fp32",
    device: Device = "cpu",
    threads: int | None = None,
    max_length: int = 384,
    compiled: bool = False,
) -> Reader:
    """Return a reader that runs a checkpoint in PyTorch: in inference mode, with its fast attention (sdpa).

    Args:
        checkpoint: folder or hub id.
        precision: "fp32", or "bf16" for weights and activations.
        device: "cpu" or "cuda".
        threads: threads of PyTorch on the CPU, for the whole process; None: its default.
        max_length: see `Options.max_length`.
        compiled: use torch.compile with dynamic shapes; on a CPU that needs a C++ compiler.

    Raises:
        MissingExtraError: torch, transformers or optimum is not installed.
        ExportError: the checkpoint cannot be used.
    """
    require("export", onnxruntime=True)
    from qa_onnx.export.checkpoint import load_checkpoint
    from qa_onnx.export.opened import open_checkpoint
    from qa_onnx.export.parity import RunnerSession, torch_runner

    opened = open_checkpoint(checkpoint)
    with opened.staged() as stage:
        model, source = load_checkpoint(opened, stage, opened.folder)
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    with contextlib.suppress(ValueError):  # a model type without it keeps eager attention
        model.set_attn_implementation("sdpa")
    model.to(device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)

    if compiled:
        model = torch.compile(model, dynamic=True)

    return Reader(
        session=RunnerSession(source.inputs, torch_runner(model), RUN_OVERHEAD[device], device != "cpu"),
        windower=source.windower,
        pad_id=source.pad_id,
        options=Options.for_windows_of(min(max_length, source.max_positions)),
        max_positions=source.max_positions,
    )
