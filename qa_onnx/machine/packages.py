"""What is installed beside qa-onnx: versions, wheels of ONNX Runtime, and which extras are complete.

Read from the metadata of the packages: nothing is imported, so what is broken is still seen. `require` is what
commands and library calls check with, before they begin, that what they need is there.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from qa_onnx.errors import MissingExtraError

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_SHOWN = ("numpy", "tokenizers", "openvino")
_NOT_EXTRAS = ("all", "cpu", "gpu")  # the first is the sum of others; the runtimes have a line of their own

_REQUIREMENT = re.compile(r"""([\w.-]+)(?:\[([\w.,-]+)])?([^;]*)(?:;.*\bextra\s*==\s*["']([\w-]+)["'])?""")
_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What Python finds beside qa-onnx.

    Attributes:
        python: its version.
        system: operating system and machine.
        versions: of qa-onnx and the packages that it reads with; None: not installed.
        runtimes: version of each wheel of ONNX Runtime; more than one break each other.
        extras: what each extra of qa-onnx lacks; empty where it is complete.
        unmet: what qa-onnx itself needs and does not find, or finds in a version that it does not allow.
    """

    python: str
    system: str
    versions: dict[str, str | None]
    runtimes: dict[str, str]
    extras: dict[str, tuple[str, ...]]
    unmet: tuple[str, ...]


def survey() -> Installed:
    """Look at the packages of this Python."""
    runtimes = {name: found for name in RUNTIMES if (found := version(name)) is not None}
    extras, base = _requirements()
    return Installed(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        versions={name: version(name) for name in ("qa-onnx", *_SHOWN)},
        runtimes=runtimes,
        extras={extra: tuple(_lacks(needs)) for extra, needs in extras.items()},
        unmet=tuple(_lacks(base)),
    )


def require(extra: str, *, runtime: bool = False) -> None:
    """Check that all packages of an extra are installed.

    Args:
        extra: of qa-onnx.
        runtime: an ONNX Runtime is needed as well, whichever.

    Raises:
        MissingExtraError: some are not; it names all of them, and one line for pip.
    """
    needs = _requirements()[0].get(extra, [])
    lacks = _lacks(needs) + [one.name for one in needs if version(one.name) and not _can_be_imported(_module(one))]
    names = [extra] if lacks else []
    if runtime and not _can_be_imported("onnxruntime"):
        lacks.append("an ONNX Runtime")
        names.insert(0, "cpu")
    if lacks:
        raise MissingExtraError(f"{', '.join(lacks)} not installed: pip install 'qa-onnx[{','.join(names)}]'")


def version(distribution: str) -> str | None:
    """Version of an installed package, or None; its metadata may be damaged and say nothing."""
    try:
        found: str | None = metadata.version(distribution)
    except (metadata.PackageNotFoundError, KeyError):
        return None
    return found


@dataclass(frozen=True, slots=True)
class _Requirement:
    """A package that qa-onnx needs, and the versions that it allows, as in its metadata."""

    name: str
    bounds: str


def _requirements() -> tuple[dict[str, list[_Requirement]], list[_Requirement]]:
    """What each extra of qa-onnx needs, and what its base needs; nothing where it has no metadata.

    The wheel of ONNX Runtime that is there belongs to the base, and no other.
    """
    try:
        lines = metadata.requires("qa-onnx") or []
    except metadata.PackageNotFoundError:
        return {}, []
    extras: dict[str, list[_Requirement]] = {}
    brought: dict[str, list[str]] = {}  # extras that an extra brings
    base: list[_Requirement] = []
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match is None:
            continue
        name, inner, bounds, extra = match.groups()
        if name == "qa-onnx":
            brought.setdefault(extra, []).extend(inner.split(","))
        elif extra is None or (name in RUNTIMES and version(name) is not None):
            base.append(_Requirement(name, bounds))
        elif extra not in _NOT_EXTRAS:
            extras.setdefault(extra, []).append(_Requirement(name, bounds))

    def whole(extra: str) -> list[_Requirement]:
        return [*extras.get(extra, ()), *(one for other in brought.get(extra, ()) for one in whole(other))]

    return {extra: list(dict.fromkeys(whole(extra))) for extra in extras}, list(dict.fromkeys(base))


def _lacks(requirements: list[_Requirement]) -> list[str]:
    return [lack for one in requirements for lack in _lack(one)]


def _lack(requirement: _Requirement) -> list[str]:
    """What is wrong with a required package, by metadata; nothing where it is there in an allowed version."""
    found = version(requirement.name)
    if found is None:
        return [requirement.name]
    fits = all(
        _numbers(found) >= _numbers(bound) if sign == ">=" else _numbers(found) < _numbers(bound)
        for sign, bound in _BOUND.findall(requirement.bounds)
    )
    return [] if fits else [f"{requirement.name} {requirement.bounds.strip()} (found {found})"]


def _module(requirement: _Requirement) -> str:
    """The module that a distribution installs: of all that extras need, it has the distribution's name."""
    return requirement.name.replace("-", "_")


def _can_be_imported(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # something in its place that is no module
        return False


def _numbers(text: str) -> list[int]:
    """The release of a version, without zeros at its end: "2.1.0rc1" gives [2, 1]."""
    match = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers
