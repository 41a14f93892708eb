"""What is compared: a bundle's precisions in the engines that run here, and PyTorch.

Left out: starting them (start.py) and asking them (scenarios.py).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.bench.torch_reader import TORCH_PRECISIONS
from qa_onnx.engines.names import backends_of, why_not
from qa_onnx.engines.sessions import check_usable
from qa_onnx.errors import BundleError, EngineError, MissingExtraError
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.engines.names import Device

_LIGHT = ("numpy", "tokenizers", "click", "rich")
_WHEELS = {"onnxruntime/cpu": "onnxruntime", "onnxruntime/cuda": "onnxruntime-gpu", "openvino/cpu": "openvino"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A contender that can be started.

    Attributes:
        name: as it is shown.
        command: gives the command for a number of threads; see protocol.py.
        options: what every request brings for it.
        own: it runs this project's stages, so it can split its time and take a token budget.
        model_bytes: of the files that hold its model; None: not known.
        install_bytes: of what pip installs for it; None: not known.
        why_not: why it cannot run; "" where it can.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    options: dict[str, Any] = field(default_factory=dict)
    own: bool = True
    model_bytes: int | None = None
    install_bytes: int | None = None
    why_not: str = ""


def entrants(
    bundle: Bundle, *, precisions: Sequence[str] | None, against: str | None, device: Device
) -> list[Entrant]:
    """The contenders of `qa-onnx bench`, the one that the others are compared with first.

    Args:
        bundle: whose precisions to run.
        precisions: of them; None: all.
        against: a checkpoint to run in PyTorch, folder or hub id; None: none.
        device: "cpu" or "cuda".

    Raises:
        BundleError: the bundle does not hold one of the precisions.
        EngineError: nothing of it, or not one of those named, runs on the device.
    """
    found = [] if against is None else _torch(against, bundle, device)
    ours = list(_ours(bundle, precisions, device))
    for precision in precisions or ():
        if not any(entrant.name.startswith(f"{precision},") for entrant in ours):
            raise EngineError(f"no engine here runs {precision} on device {device!r}: qa-onnx doctor tells why")
    if not ours:
        raise EngineError(f"nothing of {bundle.path} runs on device {device!r} here: qa-onnx doctor tells why")
    return found + ours


def _torch(checkpoint: str, bundle: Bundle, device: Device) -> list[Entrant]:
    made = []
    for precision in TORCH_PRECISIONS:
        arguments = {
            "checkpoint": checkpoint,
            "precision": precision,
            "device": device,
            "max_length": bundle.manifest.max_length,
        }
        slow = precision == "bf16" and device == "cpu" and not cpu.has_bf16()
        made.append(
            Entrant(
                name=f"PyTorch {precision}",
                command=partial(_torch_answerer, arguments),
                model_bytes=_weights(Path(checkpoint)),
                install_bytes=install_bytes(("torch", "transformers")),
                why_not="this CPU has no instructions for bf16, and emulates them slowly" if slow else "",
            )
        )
    return made


def _ours(bundle: Bundle, precisions: Sequence[str] | None, device: Device) -> Iterable[Entrant]:
    graphs = bundle.manifest.graphs
    for precision in precisions or graphs:
        if precision not in graphs:
            raise BundleError(f"{bundle.path} holds no {precision}; it holds {', '.join(graphs)}")
        for backend in backends_of(precision):
            engine = backend.engine
            if backend.device != device or str(backend) not in graphs[precision].engines:
                continue
            try:
                check_usable(backend)
            except MissingExtraError:
                continue  # an engine that is not installed was not asked for
            except EngineError as error:
                yield Entrant(name=f"{precision}, {engine}", command=lambda _: (), why_not=str(error))
                continue
            arguments = {"bundle": str(bundle.path), "precision": precision, "engine": engine, "device": device}
            yield Entrant(
                name=f"{precision}, {engine}",
                command=partial(_answerer, arguments),
                model_bytes=graphs[precision].file.size,
                install_bytes=install_bytes((*_LIGHT, _WHEELS[str(backend)])) if str(backend) in _WHEELS else None,
                why_not=why_not(precision),
            )


def _answerer(arguments: dict[str, Any], threads: int) -> Sequence[str]:
    return [sys.executable, "-m", "qa_onnx.bench.answerer", json.dumps({**arguments, "threads": threads})]


def _torch_answerer(arguments: dict[str, Any], threads: int) -> Sequence[str]:
    torch = json.dumps({"torch": {**arguments, "threads": threads}})
    return [sys.executable, "-m", "qa_onnx.bench.answerer", torch]


def _weights(folder: Path) -> int | None:
    """Bytes of a checkpoint's weights; None where it is not a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) or None


def install_bytes(names: Iterable[str]) -> int | None:
    """Bytes of installed packages and of all that they need; None where one is not installed, or cannot tell."""
    if find_spec("packaging") is None:
        return None
    from packaging.requirements import Requirement

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
