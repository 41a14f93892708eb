"""What is installed beside qa-onnx: versions, wheels of ONNX Runtime, and which extras are complete.

Read from the metadata of the packages: nothing is imported, so what is broken is still seen.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from importlib import metadata

from qa_onnx import __version__

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_SHOWN = ("numpy", "tokenizers", "openvino")
_NOT_EXTRAS = ("all", "cpu", "gpu")  # the first is the sum of others; the runtimes have a line of their own

_REQUIREMENT = re.compile(r"""([\w.-]+)(?:\[[\w.,-]+])?([^;]*)(?:;.*\bextra\s*==\s*["']([\w-]+)["'])?""")
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
    extras, unmet = _requirements()
    return Installed(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        versions={"qa-onnx": __version__, **{name: version(name) for name in _SHOWN}},
        runtimes=runtimes,
        extras=extras,
        unmet=unmet,
    )


def version(distribution: str) -> str | None:
    """Version of an installed package, or None; its metadata may be damaged and say nothing."""
    try:
        found: str | None = metadata.version(distribution)
    except (metadata.PackageNotFoundError, KeyError):
        return None
    return found


def _requirements() -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """What each extra lacks, and what the base lacks, by the metadata of qa-onnx; nothing where it has none."""
    try:
        lines = metadata.requires("qa-onnx") or []
    except metadata.PackageNotFoundError:
        return {}, ()
    extras: dict[str, list[str]] = {}
    unmet: list[str] = []
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match is None:
            continue
        name, bounds, extra = match.groups()
        lack = _lack(name, bounds)
        if extra is None or (name in RUNTIMES and version(name) is not None):
            unmet.extend(lack)
        elif extra not in _NOT_EXTRAS:
            extras.setdefault(extra, []).extend(lack)
    return {name: tuple(what) for name, what in extras.items()}, tuple(dict.fromkeys(unmet))


def _lack(name: str, bounds: str) -> list[str]:
    found = version(name)
    if found is None:
        return [name]
    fits = all(
        _numbers(found) >= _numbers(bound) if sign == ">=" else _numbers(found) < _numbers(bound)
        for sign, bound in _BOUND.findall(bounds)
    )
    return [] if fits else [f"{name} {bounds.strip()} (found {found})"]


def _numbers(text: str) -> list[int]:
    """The release of a version, without zeros at its end: "2.1.0rc1" gives [2, 1]."""
    match = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers
