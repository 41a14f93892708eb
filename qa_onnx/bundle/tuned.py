"""What `qa-onnx tune` found to be the fastest way to run a bundle on this machine.

A profile lies in the user's cache folder, one file for a bundle on a machine, and holds only there: another CPU,
another number of cores, other versions of the engines, another bundle, and it is ignored. `Reader.load` follows it
where the caller sets nothing by hand. Left out: how it is found (bench/tune.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

from qa_onnx.bundle import fields
from qa_onnx.bundle.manifest import MANIFEST
from qa_onnx.engines.names import ENGINES, PRECISIONS, Backend, check_threads
from qa_onnx.engines.sessions import check_usable
from qa_onnx.errors import EngineError, MissingExtraError
from qa_onnx.machine import cpu
from qa_onnx.machine.cache import cache_folder
from qa_onnx.options import Options

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.bundle.folder import Bundle
    from qa_onnx.engines.names import Device, Engine

_LOG = logging.getLogger(__name__)
_FORMAT = "qa-onnx-profile 1"
_LIMIT = 1 << 16  # bytes
_PACKAGES = ("qa-onnx", "onnxruntime", "onnxruntime-gpu", "openvino")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The fastest setting that was found, and what it gave.

    Attributes:
        precision: of the bundle's graphs.
        engine: see `Reader.load`.
        device: see `Reader.load`.
        threads: of one run on the CPU.
        batch_tokens: see `Options.batch_tokens`.
        questions_per_second: text to answer, many questions at once.
        gain: how many times as many as with the default setting, in the same run; None: that was not tried.
        p99_ms: milliseconds in which 99 of 100 questions that were asked one by one were answered.
        data: what was asked.
        created: UTC date and time, ISO 8601.
    """

    precision: str
    engine: Engine
    device: Device
    threads: int
    batch_tokens: int
    questions_per_second: float
    gain: float | None
    p99_ms: float
    data: str
    created: str

    @property
    def backend(self) -> Backend:
        """Where the precision runs."""
        return Backend(self.engine, self.device)

    def __str__(self) -> str:
        if self.gain is None:
            speed = f"{self.questions_per_second:.1f} questions a second, the default was not tried"
        else:
            speed = f"{self.gain:.2f} x the default's questions a second"
        return (
            f"{self.precision} in {self.backend}, {self.threads} threads, batches of "
            f"{self.batch_tokens:,} tokens: {speed}; tuned {self.created[:10]} on {self.data}"
        )


def profile_path(bundle: Bundle) -> Path:
    """Where the profile of a bundle on this machine lies, or would lie.

    Raises:
        OSError: the user has no home folder.
    """
    name = hashlib.sha256(json.dumps([_bundle_hash(bundle), _machine()]).encode()).hexdigest()
    return cache_folder("profiles", f"{name[:32]}.json")


def find_profile(bundle: Bundle) -> Profile | None:
    """The profile of a bundle on this machine, if it has one that still holds."""
    try:
        path = profile_path(bundle)
        if not path.is_file() or path.stat().st_size > _LIMIT:
            return None
        content = json.loads(path.read_bytes())
        where = {"format": _FORMAT, "bundle": _bundle_hash(bundle), "machine": _machine(), "versions": _versions()}
        if any(content.get(name) != value for name, value in where.items()):
            _LOG.info("%s is of other versions of the engines and is ignored: qa-onnx tune makes it anew", path)
            return None
        return _read(content["profile"], bundle)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EngineError, MissingExtraError) as error:
        _LOG.info("the profile of %s cannot be used and is ignored: %r", bundle.path, error)
        return None


def save_profile(bundle: Bundle, profile: Profile) -> Path:
    """Keep a profile, whole or not at all; returns its file.

    Raises:
        OSError: the cache folder cannot be written.
    """
    path = profile_path(bundle)
    content = {
        "format": _FORMAT,
        "bundle": _bundle_hash(bundle),
        "machine": _machine(),
        "versions": _versions(),
        "profile": dataclasses.asdict(profile),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.replace(path)
    return path


def forget_profile(bundle: Bundle) -> bool:
    """Remove the profile of a bundle on this machine; False where there was none.

    Raises:
        OSError: it cannot be removed.
    """
    path = profile_path(bundle)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def _read(content: dict[str, Any], bundle: Bundle) -> Profile:
    profile = Profile(
        precision=fields.one_of(content["precision"], *PRECISIONS),
        engine=cast("Engine", fields.one_of(content["engine"], *ENGINES)),
        device=cast("Device", fields.string(content["device"])),
        threads=fields.integer(content["threads"]),
        batch_tokens=fields.integer(content["batch_tokens"]),
        questions_per_second=fields.number(content["questions_per_second"]),
        gain=None if content["gain"] is None else fields.number(content["gain"]),
        p99_ms=fields.number(content["p99_ms"]),
        data=fields.string(content["data"]),
        created=fields.string(content["created"]),
    )
    check_usable(profile.backend)
    check_threads(profile.threads)
    Options(batch_tokens=profile.batch_tokens)
    if str(profile.backend) not in bundle.manifest.graphs[profile.precision].engines:
        raise ValueError(f"{profile.precision} does not run on {profile.backend}")
    return profile


def _bundle_hash(bundle: Bundle) -> str:
    return hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()


def _machine() -> dict[str, Any]:
    return {
        "cpu": cpu.cpu_model(),
        "instruction_sets": list(cpu.instruction_sets()),
        "threads": cpu.default_threads(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
