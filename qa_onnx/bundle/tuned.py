"""Tuning profiles: the fastest settings that `qa-onnx tune` found for a bundle on this machine.

A profile is a file in the user's cache folder. It is valid for one bundle, CPU, number of cores and set of engine
versions, and ignored if one of them changes. `Reader.load` follows it if the caller chooses no setting.
Left out: the search for the fastest settings (bench/tune.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.files import manifest_sha256
from qa_onnx.engines.names import Backend, Device, Engine, check_threads
from qa_onnx.engines.sessions import check_usable
from qa_onnx.errors import BundleError, EngineError, MissingExtraError, number_of, warn_caller
from qa_onnx.machine import cpu
from qa_onnx.machine.cache import cache_folder
from qa_onnx.machine.files import replacing
from qa_onnx.machine.packages import versions
from qa_onnx.options import Options

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.bundle.folder import Bundle

_LOG = logging.getLogger(__name__)
_FORMAT = "qa-onnx-profile 1"
_LIMIT = 1 << 16  # bytes
_PACKAGES = ("qa-onnx", "onnxruntime", "onnxruntime-gpu", "openvino")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The fastest settings, and the speed that was measured with them.

    Attributes:
        precision: of the bundle's graphs.
        engine: see `Reader.load`.
        device: see `Reader.load`.
        threads: of one run on the CPU.
        batch_tokens: see `Options.batch_tokens`.
        questions_per_second: end to end, many questions at once.
        gain: speed divided by that of the default settings in the same run; None: the default was not measured.
        p99_ms: 99th percentile of the latency in milliseconds, one question at a time.
        data: name of the questions.
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
        """The backend that runs the precision."""
        return Backend(self.engine, self.device)

    def __str__(self) -> str:
        speed = f"{self.questions_per_second:.1f} questions a second, the default was not tried"
        if self.gain is not None:
            speed = f"{self.gain:.2f} x the default's questions a second"
        batches = f"batches of {self.batch_tokens:,} tokens" if self.batch_tokens > 1 else "one window a batch"
        return (
            f"{self.precision} in {self.backend}, {number_of(self.threads, 'thread')}, {batches}: "
            f"{speed}; tuned {self.created[:10]} on {self.data}"
        )


def profile_path(bundle: Bundle) -> Path:
    """Return the file of the profile of a bundle on this machine, whether it exists or not.

    Raises:
        OSError: the user has no home folder.
    """
    name = hashlib.sha256(json.dumps([manifest_sha256(bundle.path), _machine()]).encode()).hexdigest()
    return cache_folder("profiles", f"{name[:32]}.json")


def find_profile(bundle: Bundle) -> Profile | None:
    """Return the profile of a bundle on this machine; None if there is none, or it is not valid any more.

    If it names a GPU that cannot be used now, there is a RuntimeWarning.
    """
    try:
        path = profile_path(bundle)
        if not path.is_file() or path.stat().st_size > _LIMIT:
            return None
        import msgspec  # only now: it takes 8 ms to import

        content = msgspec.json.decode(path.read_bytes())
        if any(content.get(name) != value for name, value in _key(bundle).items()):
            _LOG.info("%s is of other versions of the engines and is ignored: qa-onnx tune makes a new one", path)
            return None
        profile = msgspec.convert(content["profile"], Profile)
        if not _usable(profile):
            return None
        check_threads(profile.threads)
        Options(batch_tokens=profile.batch_tokens)
        if profile.precision not in bundle.precisions(profile.backend):
            raise ValueError(f"{profile.precision} does not run on {profile.backend}")
        return profile
    except (OSError, ValueError, KeyError, AttributeError, BundleError, EngineError, MissingExtraError) as error:
        _LOG.info("the profile of %s cannot be used and is ignored: %r", bundle.path, error)
        return None


def _usable(profile: Profile) -> bool:
    """Return whether the backend of a profile can be used; warn if it is a GPU that cannot."""
    try:
        check_usable(profile.backend)
    except (EngineError, MissingExtraError) as error:
        if profile.device == "cpu":
            raise
        warn_caller(
            f"{profile.backend}, which qa-onnx tune chose, cannot be used, the CPU takes over: {error}",
            RuntimeWarning,
        )
        return False
    return True


def save_profile(bundle: Bundle, profile: Profile) -> Path:
    """Write a profile atomically, and return its file.

    Raises:
        OSError: the cache folder cannot be written.
    """
    path = profile_path(bundle)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**_key(bundle), "profile": dataclasses.asdict(profile)}
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1).encode())
    return path


def forget_profile(bundle: Bundle) -> bool:
    """Remove the profile of a bundle on this machine; return whether there was one.

    Raises:
        OSError: it cannot be removed.
    """
    path = profile_path(bundle)
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def _key(bundle: Bundle) -> dict[str, Any]:
    """Return what a profile depends on."""
    return {
        "format": _FORMAT,
        "bundle": manifest_sha256(bundle.path),
        "machine": _machine(),
        "versions": versions(_PACKAGES),
    }


def _machine() -> dict[str, Any]:
    return {
        "cpu": cpu.cpu_model(),
        "instruction_sets": list(cpu.instruction_sets()),
        "threads": cpu.default_threads(),
    }
