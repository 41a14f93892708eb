"""The contenders of `qa-onnx bench`: a bundle's precisions in the engines that run here, and PyTorch.

Left out: starting them (runners.py) and measuring them (compare.py).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from qa_onnx.bench.torch_reader import TORCH_PRECISIONS
from qa_onnx.engines.names import backends_of, missing_instructions
from qa_onnx.engines.sessions import check_usable
from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu
from qa_onnx.machine.packages import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.engines.names import Backend, Device

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
    ours = list(_ours(bundle, precisions or bundle.manifest.graphs, device))
    runs = {contender.name.partition(",")[0] for contender in ours}
    missing = [precision for precision in precisions or () if precision not in runs]
    if missing or not ours:
        what = f"no engine here runs {', '.join(missing)}" if missing else f"no engine here runs {bundle.path}"
        raise EngineError(f"{what} on device {device!r}", remedy="qa-onnx doctor explains why")
    return torch + ours


def _torch(checkpoint: str, bundle: Bundle, device: Device) -> list[Contender]:
    contenders = []
    for precision in TORCH_PRECISIONS:
        arguments = {"checkpoint": checkpoint, "precision": precision, "device": device}
        slow = precision == "bf16" and device == "cpu" and not cpu.has_bf16()
        contenders.append(
            Contender(
                name=f"PyTorch {precision}",
                command=partial(answerer, {**arguments, "max_length": bundle.manifest.max_length}, torch=True),
                model_bytes=sum(path.stat().st_size for path in Path(checkpoint).glob("*.safetensors")) or None,
                install_bytes=install_bytes(("torch", "transformers")),
                why_not="this CPU has no instructions for bf16; emulating them is slow" if slow else "",
            )
        )
    return contenders


def _ours(bundle: Bundle, precisions: Iterable[str], device: Device) -> Iterator[Contender]:
    base = [need.name for need in needs()]
    for precision in precisions:
        for backend, reason in installed_backends(bundle, precision):
            if backend.device != device:
                continue
            wheel = _WHEELS.get(str(backend))
            arguments = {"bundle": str(bundle.path), "precision": precision, **asdict(backend)}
            yield Contender(
                name=f"{precision}, {backend.engine}",
                command=partial(answerer, arguments),
                model_bytes=bundle.graph(precision).size,
                install_bytes=install_bytes((*base, wheel)) if wheel else None,
                why_not=reason,
            )


def installed_backends(bundle: Bundle, precision: str) -> Iterator[tuple[Backend, str]]:
    """Yield each installed backend that a graph is for, and why it cannot run here; "" if it can.

    Raises:
        BundleError: the bundle does not hold the precision.
    """
    bundle.graph(precision)  # raises where the bundle lacks it
    for backend in backends_of(precision):
        if precision in bundle.precisions(backend):
            try:
                check_usable(backend)
            except MissingExtraError:
                continue
            except EngineError as error:
                yield backend, str(error)
            else:
                yield backend, missing_instructions(precision)


def answerer(arguments: dict[str, Any], threads: int, *, torch: bool = False) -> Sequence[str]:
    """Return the command line of answerer.py, for the arguments of `Reader.load` or of `torch_reader`."""
    content = {**arguments, "threads": threads}
    return [sys.executable, "-m", "qa_onnx.bench.answerer", json.dumps({"torch": content} if torch else content)]


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
        wanted = [Requirement(text) for text in package.requires or ()]
        waiting += [need.name for need in wanted if need.marker is None or need.marker.evaluate({"extra": ""})]
    return total
