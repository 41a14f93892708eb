"""Settings of a server: its limits, and the model that it serves."""

from __future__ import annotations

import dataclasses
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from qa_onnx import Bundle, Options, Reader
from qa_onnx.bundle.runtime import resolve_runtime
from qa_onnx.errors import InputError
from qa_onnx.machine import cpu
from qa_onnx.options import check_fields
from qa_onnx.serve.hosts import AllowedHosts
from qa_onnx.serve.root_path import checked_root

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.bundle.runtime import Runtime

MAX_EXAMPLES = 1000  # of a request
MAX_ANSWERS = 10_000  # examples of a request times n_best
MAX_N_BEST = 100
MAX_SCORE_CHARACTERS = 50_000  # of a context in a request for token scores


def _limit(default: float | None, text: str) -> Any:
    """Return a field with the help of its flag, and with bounds in `BOUNDS`."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits of a server process; the help of each says what it limits.

    Raises:
        InputError: a limit is out of range, a host is no name, or the root path is no path.
    """

    max_batch_tokens: int | None = _limit(
        None, "Tokens of one run, with padding.  [default: 1024, on a GPU 16384]"
    )
    max_wait_ms: float = _limit(0.0, "How long a question may wait for others to share its run.")
    max_queue: int = _limit(64, "Questions that may wait or run in each worker; more get 429.")
    max_request_bytes: int = _limit(1 << 20, "Bytes of a request body; a larger one gets 413.")
    max_total_bytes: int | None = _limit(
        None, "Bytes of all bodies in each worker's memory; more get 429.  [default: 16 x --max-request-bytes]"
    )
    timeout_s: float = _limit(30.0, "Seconds from a request's arrival to its answer; then 504.")
    read_timeout_s: float = _limit(
        10.0, "Seconds in which a client must send a head, send a body, and read each part of an answer."
    )
    keys: tuple[bytes, ...] = ()  # SHA-256 of each API key, from `keys.read_keys`; empty: no key is needed
    allowed_hosts: tuple[str, ...] = ()  # besides the defaults of `hosts.AllowedHosts`
    loopback: bool = True  # only this machine reaches the server
    root_path: str = ""  # below which clients find the server, such as /qa
    owns_process: bool = True  # which ends, even where a run does not; False: it is that of another application

    def __post_init__(self) -> None:
        check_fields(self)
        AllowedHosts(self.allowed_hosts, loopback=self.loopback)  # checks the names
        object.__setattr__(self, "root_path", checked_root(self.root_path))
        if self.total_bytes < 2 * self.max_request_bytes:
            raise InputError(
                f"max_total_bytes is {self.total_bytes}; it must be at least twice max_request_bytes, which is "
                f"{self.max_request_bytes}"
            )

    @property
    def total_bytes(self) -> int:
        """Bytes of all bodies that a worker holds at most."""
        return 16 * self.max_request_bytes if self.max_total_bytes is None else self.max_total_bytes


def limits() -> list[Field[Any]]:
    """Return the fields of `Settings` that are flags of the command."""
    return [item for item in fields(Settings) if item.metadata]


@dataclass(frozen=True, slots=True)
class Model:
    """The model that a server loads.

    Attributes:
        bundle: read once, with its signature: its files must have the hashes of this manifest.
        runtime: that the bundle runs with here.
        options: defaults of the requests.
    """

    bundle: Bundle
    runtime: Runtime
    options: Options

    @classmethod
    def resolve(
        cls,
        bundle: str | Path | Bundle | None = None,
        options: Options | None = None,
        *,
        revision: str | None = None,
        require_signature: Path | None = None,
        threads: int | None = None,
        share: int | None = None,
        **named: Any,
    ) -> Model:
        """Complete settings by those that the bundle runs best with here, with the checks that are quick.

        Args:
            bundle: to serve; so are the next two of `Bundle.load`.
            options: defaults of the requests, but for the tokens of a batch; None: the bundle's, with one answer.
            revision: on the hub.
            require_signature: public key that must have signed the bundle; None: none must have.
            threads: of one run on the CPU, or of as many runs side by side.
            share: the threads without `threads`, where other processes have cores too; None: all cores.
            named: precision, device, engine and allow_fallback, as in `Reader.load`.

        Raises:
            QaOnnxError: the bundle is not complete, or has nothing for the engine and device.
        """
        opened = Bundle.load(bundle, revision=revision, require_signature=require_signature)
        runtime = resolve_runtime(opened, threads=threads, **named)
        found = runtime.threads if threads is not None or share is None else share  # a profile's: for one process
        runtime = dataclasses.replace(runtime, threads=cpu.default_threads() if found is None else found)
        if options is None:
            options = dataclasses.replace(Options.for_windows_of(opened.manifest.max_length), n_best=1)
        if runtime.batch_tokens is not None:
            options = dataclasses.replace(options, batch_tokens=runtime.batch_tokens)
        return cls(opened, runtime, options)

    def load(self) -> Reader:
        """Load the reader, which takes a second or more.

        Raises:
            QaOnnxError: the bundle is damaged, the backend cannot be used, or the options do not fit the model.
        """
        reader = Reader.from_runtime(self.bundle, self.runtime)
        reader.resolve(self.options)
        return reader

    def as_loaded(self, reader: Reader) -> Model:
        """Return what a reader really runs, which is different if it fell back to the CPU."""
        if reader.runtime is None:
            return self
        runtime, options = reader.runtime, self.options
        if runtime.backend.device != self.runtime.backend.device:  # a CPU wants smaller batches than a GPU
            options = dataclasses.replace(options, batch_tokens=reader.options.batch_tokens)
        return dataclasses.replace(self, runtime=runtime, options=options)

    @property
    def max_doc_stride(self) -> int:
        """The largest overlap of a request: a larger one would multiply the windows."""
        return max(self.options.doc_stride, self.options.max_length // 2)
