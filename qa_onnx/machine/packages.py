"""Installed packages: versions, wheels of ONNX Runtime, and which extras of qa-onnx are complete.

All is read from the packages' metadata. Nothing is imported, so that a broken package is seen too. Commands and
library calls check with `require`, before they begin, that what they need is installed.
"""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.version import InvalidVersion

from qa_onnx.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable

WHEELS = ("onnxruntime", "onnxruntime-gpu")
_SHOWN = ("qa-onnx", "numpy", "tokenizers", "openvino")
_NOT_EXTRAS = {"all", "cpu", "gpu"}  # the first is the sum of others; ONNX Runtime has a line of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The packages that this Python finds, as far as they matter to qa-onnx.

    Attributes:
        python: its version.
        system: operating system and machine.
        versions: of qa-onnx and the packages that it reads with; None: not installed.
        wheels: version of each wheel of ONNX Runtime; more than one break each other.
        extras: what each extra of qa-onnx lacks; empty where it is complete.
        unmet: what qa-onnx itself needs and is missing, or installed in a version that it does not allow.
    """

    python: str
    system: str
    versions: dict[str, str | None]
    wheels: dict[str, str]
    extras: dict[str, tuple[str, ...]]
    unmet: tuple[str, ...]


def survey() -> Installed:
    """Return what is installed."""
    try:
        extras = set(metadata.metadata("qa-onnx").get_all("Provides-Extra") or ()) - _NOT_EXTRAS
    except metadata.PackageNotFoundError:
        extras = set()
    # An installed ONNX Runtime belongs to the base; one that is missing does not, since either wheel will do.
    wheels = [need for extra in ("cpu", "gpu") for need in needs(extra) if version(need.name)]
    return Installed(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        versions={name: version(name) for name in _SHOWN},
        wheels=versions(WHEELS),
        extras={extra: tuple(_lacks(needs(extra))) for extra in sorted(extras)},
        unmet=tuple(_lacks(needs() + wheels)),
    )


def require(extra: str, *, onnxruntime: bool = False) -> None:
    """Check that all packages of an extra are installed.

    Args:
        extra: of qa-onnx.
        onnxruntime: whether an ONNX Runtime is needed too, either wheel of it.

    Raises:
        MissingExtraError: some are not; it names all of them, and one line for pip.
    """
    wanted = needs(extra)
    # Of all packages that extras need, the module has the name of the package.
    broken = [need.name for need in wanted if version(need.name) and not _importable(need.name.replace("-", "_"))]
    lacks = _lacks(wanted) + broken
    names = [extra] if lacks else []
    if onnxruntime and not _importable("onnxruntime"):
        lacks.append("an ONNX Runtime")
        names.insert(0, "cpu")
    if lacks:
        raise MissingExtraError(
            f"{', '.join(lacks)} not installed", remedy=f"pip install 'qa-onnx[{','.join(names)}]'"
        )


def version(distribution: str) -> str | None:
    """Return the version of an installed package, or None; its metadata may be damaged and lack it."""
    try:
        number: str | None = metadata.version(distribution)
    except (metadata.PackageNotFoundError, KeyError):
        return None
    return number


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of some packages that are installed."""
    return {name: number for name in distributions if (number := version(name)) is not None}


def needs(extra: str = "") -> list[Requirement]:
    """Return what an extra of qa-onnx needs, or "", its base; nothing where qa-onnx has no metadata.

    Hatchling writes the packages of an extra that another one names into both.
    """
    try:
        every = [Requirement(line) for line in metadata.requires("qa-onnx") or ()]
    except metadata.PackageNotFoundError:
        return []
    base = [need for need in every if need.marker is None or need.marker.evaluate({"extra": ""})]
    if not extra:
        return base
    return [need for need in every if need not in base and need.marker and need.marker.evaluate({"extra": extra})]


def _lacks(wanted: list[Requirement]) -> list[str]:
    """Return the packages that are missing or of a version that is not allowed, the latter with both versions."""
    lacks = []
    for need in wanted:
        number = version(need.name)
        with suppress(InvalidVersion):
            if number is not None and need.specifier.contains(number, prereleases=True):
                continue
        lacks.append(need.name if number is None else f"{need.name} {need.specifier} (found {number})")
    return lacks


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # something that is no module has its name
        return False
