"""The contenders of `qa-onnx bench`: a bundle's precisions in the engines that run here, and PyTorch.

Left out: starting them (runners.py) and measuring them (compare.py).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from qa_onnx.bench.torch_reader import TORCH_PRECISIONS
from qa_onnx.engines.names import backends_of, missing_instructions
from qa_onnx.engines.sessions import check_usable
from qa_onnx.errors import BundleError, EngineError, MissingExtraError
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.engines.names import Device

_LIGHT = ("numpy", "tokenizers", "msgspec", "packaging", "click", "rich")
_WHEELS = {"onnxruntime/cpu": "onnxruntime", "onnxruntime/cuda": "onnxruntime-gpu", "openvino/cpu": "openvino"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Something that answers questions and can be started."""

    name: str
    command: Callable[[int], Sequence[str]]  # for a number of threads; see protocol.py
    options: dict[str, Any] = field(default_factory=dict)  # in every request
    own: bool = True  # it runs this project's stages, so it can time them and take a token budget
    model_bytes: int | None = None  # None: unknown
    install_bytes: int | None = None  # of the packages that pip installs for it; None: unknown
    why_not: str = ""  # why it cannot run


def list_contenders(
    bundle: Bundle, *, precisions: Sequence[str] | None, against: str | None, device: Device
) -> list[Contender]:
    """Return the contenders for a bundle, first the one that the others are compared with.

    Args:
        bundle: the bundle.
        precisions: precisions of the bundle to run; None: all.
        against: a checkpoint to run in PyTorch, folder or hub id; None: none.
        device: "cpu" or "cuda".

    Raises:
        BundleError: the bundle does not hold one of the precisions.
        EngineError: the device runs nothing of the bundle, or not one of the named precisions.
    """
    torch = [] if against is None else _torch(against, bundle, device)
    ours = list(_ours(bundle, precisions, device))
    for precision in precisions or ():
        if not any(contender.name.startswith(f"{precision},") for contender in ours):
            raise EngineError(
                f"no engine here runs {precision} on device {device!r}", remedy="qa-onnx doctor explains why"
            )
    if not ours:
        raise EngineError(
            f"nothing of {bundle.path} runs on device {device!r} here", remedy="qa-onnx doctor explains why"
        )
    return torch + ours


def _torch(checkpoint: str, bundle: Bundle, device: Device) -> list[Contender]:
    contenders = []
    for precision in TORCH_PRECISIONS:
        arguments = {"checkpoint": checkpoint, "precision": precision, "device": device}
        slow = precision == "bf16" and device == "cpu" and not cpu.has_bf16()
        contenders.append(
            Contender(
                name=f"PyTorch {precision}",
                command=partial(_answerer, {**arguments, "max_length": bundle.manifest.max_length}, torch=True),
                model_bytes=_weights(Path(checkpoint)),
                install_bytes=install_bytes(("torch", "transformers")),
                why_not="this CPU has no instructions for bf16; emulating them is slow" if slow else "",
            )
        )
    return contenders


def _ours(bundle: Bundle, precisions: Sequence[str] | None, device: Device) -> Iterable[Contender]:
    graphs = bundle.manifest.graphs
    for precision in precisions or graphs:
        if precision not in graphs:
            raise BundleError(f"{bundle.path} holds no {precision}; it holds {', '.join(graphs)}")
        for backend in backends_of(precision):
            engine = backend.engine
            if backend.device != device or precision not in bundle.precisions(backend):
                continue
            try:
                check_usable(backend)
            except MissingExtraError:
                continue  # an engine that is not installed was not asked for
            except EngineError as error:
                yield Contender(name=f"{precision}, {engine}", command=lambda _: (), why_not=str(error))
                continue
            arguments = {"bundle": str(bundle.path), "precision": precision, "engine": engine, "device": device}
            yield Contender(
                name=f"{precision}, {engine}",
                command=partial(_answerer, arguments),
                model_bytes=graphs[precision].file.size,
                install_bytes=install_bytes((*_LIGHT, _WHEELS[str(backend)])) if str(backend) in _WHEELS else None,
                why_not=missing_instructions(precision),
            )


def _answerer(arguments: dict[str, Any], threads: int, *, torch: bool = False) -> Sequence[str]:
    content = {**arguments, "threads": threads}
    return [sys.executable, "-m", "qa_onnx.bench.answerer", json.dumps({"torch": content} if torch else content)]


def _weights(folder: Path) -> int | None:
    """Return the size of a checkpoint's weights in bytes; None if it is not a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) or None


def install_bytes(names: Iterable[str]) -> int | None:
    """Return the bytes of installed packages and all that they need; None if one of them is not installed."""
    seen: set[str] = set()
    waiting, total = list(names), 0
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            return None
        total += sum(file.size or 0 for file in package.files or ())
        needs = [Requirement(text) for text in package.requires or ()]
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return total
