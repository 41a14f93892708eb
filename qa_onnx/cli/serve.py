"""`qa-onnx serve`: a bundle behind HTTP, with a page for people."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.cli.options import ReaderSettings, between, reader_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx import Reader
    from qa_onnx.serve.settings import Model, Settings

_LIMITS = (
    click.option(
        "--host", default="127.0.0.1", show_default=True, help="0.0.0.0 is every address of this machine."
    ),
    click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one."),
    click.option(
        "--workers",
        type=between("processes"),
        default=1,
        show_default=True,
        help="Processes, each with its own copy of the model; they share the cores.",
    ),
    click.option(
        "--max-batch-tokens",
        type=between("max_batch_tokens"),
        help="Tokens of one run, padding included.  [default: 1024, on a GPU 16384]",
    ),
    click.option(
        "--max-wait-ms",
        type=between("max_wait_ms"),
        default=0.0,
        show_default=True,
        help="How long a question may wait for others to share its run while the engine is free.",
    ),
    click.option(
        "--max-queue",
        type=between("max_queue"),
        default=64,
        show_default=True,
        help="Questions that wait or run, a worker; more get 429.",
    ),
    click.option(
        "--max-request-bytes",
        type=between("max_request_bytes"),
        default=1 << 20,
        show_default=True,
        help="Of a body; a larger one gets 413.",
    ),
    click.option(
        "--timeout-s",
        type=between("timeout_s"),
        default=30.0,
        show_default=True,
        help="For a request, from its arrival to its answer; after it 504.",
    ),
    click.option(
        "--read-timeout-s",
        type=between("read_timeout_s"),
        default=10.0,
        show_default=True,
        help="For a client to send a request's head, then its body, and to take what it is sent.",
    ),
    click.option(
        "--api-key-file",
        type=click.Path(path_type=Path),
        help="Keys, one a line; requests must bring one of them: Authorization: Bearer KEY.",
    ),
)


def _limits(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_LIMITS):
        command = option(command)
    return command


@click.command(short_help="Answer over HTTP, with a page for people.")
@_limits
@reader_options
def serve(
    *, settings: ReaderSettings, host: str, port: int, workers: int, api_key_file: Path | None, **limits: Any
) -> None:
    """Answer over HTTP, with a page for people at /.

    \b
    qa-onnx serve
    curl localhost:8000/v1/answer -H 'Content-Type: application/json' \\
         -d '{"question": "What is blue?", "context": "The boat is blue."}'

    The address goes to stdout, the log to stderr as JSON lines. SIGTERM and Ctrl-C stop it when what was
    accepted is answered.
    """
    from qa_onnx.machine.packages import require

    require("serve", runtime=True)
    from qa_onnx.serve import keys, logs, server, supervisor
    from qa_onnx.serve.settings import MAX_N_BEST, Settings

    if settings.n_best is not None and settings.n_best > MAX_N_BEST:
        raise click.UsageError(f"--n-best is what requests get that do not say; here it is at most {MAX_N_BEST}")
    given = Settings(**limits, keys=() if api_key_file is None else keys.read(api_key_file))
    served = model(settings, workers)
    listener = server.listen(host, port)
    logs.start()
    server.end_at_a_signal()
    shown, bound = listener.getsockname()[:2]
    click.echo(f"http://{f'[{shown}]' if ':' in shown else shown}:{bound}/")
    sys.stdout.flush()
    if not given.keys and not _is_loopback(shown):
        logs.LOGGER.warning("anyone who reaches this address can ask: --api-key-file limits that")
    if workers == 1:
        clean = server.run(given, served, listener)
    else:
        command = [sys.executable, "-m", "qa_onnx.cli.serve_worker"]
        clean = supervisor.Supervisor(
            command,
            _to_json(given, settings, workers),
            listener=listener,
            workers=workers,
            stop_s=given.timeout_s + 2 * given.read_timeout_s,
        ).run()
    if not clean:
        raise click.ClickException("it did not end well: the log above says more")


def model(settings: ReaderSettings, workers: int) -> Model:
    """What is served, checked as far as that is quick.

    Args:
        settings: the user's.
        workers: how many processes share the cores.

    Raises:
        QaOnnxError: the bundle is not whole, or holds nothing for the engine and device.
    """
    from qa_onnx import Bundle, Options
    from qa_onnx.bundle.runtime import resolve_runtime
    from qa_onnx.engines.names import check_precision
    from qa_onnx.machine import cpu
    from qa_onnx.serve.settings import Model

    bundle = Bundle.load(settings.bundle)
    runtime = resolve_runtime(bundle, **settings.runtime())
    precision, backend, threads = runtime.precision, runtime.backend, runtime.threads
    bundle.graph(precision)
    check_precision(precision)
    if threads is None or (settings.threads is None and workers > 1):  # a profile's threads are for one process
        threads = max(1, cpu.default_threads() // workers)
    exact = dataclasses.replace(
        settings, precision=precision, engine=backend.engine, device=backend.device, threads=threads
    )
    chosen = {
        "n_best": 1 if settings.n_best is None else settings.n_best,
        "max_answer_length": settings.max_answer_length,
        "doc_stride": settings.doc_stride,
        "batch_tokens": runtime.batch_tokens,
    }
    changes: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    options = dataclasses.replace(
        Options.for_windows_of(bundle.manifest.max_length), null_threshold=settings.null_threshold, **changes
    )

    def load() -> Reader:
        reader, _ = exact.load()
        reader.resolve(options)
        return reader

    return Model(
        bundle=bundle,
        precision=precision,
        backend=backend,
        threads=threads,
        options=options,
        load=load,
    )


def _is_loopback(address: str) -> bool:
    import ipaddress

    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _to_json(settings: Settings, reader: ReaderSettings, workers: int) -> dict[str, Any]:
    limits = dataclasses.asdict(settings) | {"keys": [key.hex() for key in settings.keys]}
    bundle = None if reader.bundle is None else str(reader.bundle)
    return {"limits": limits, "reader": dataclasses.asdict(reader) | {"bundle": bundle}, "workers": workers}


def from_json(content: dict[str, Any]) -> tuple[Settings, ReaderSettings, int]:
    """What `_to_json` wrote, in a worker."""
    from qa_onnx.serve.settings import Settings

    limits, reader = content["limits"], content["reader"]
    keys = tuple(bytes.fromhex(key) for key in limits.pop("keys"))
    bundle = reader.pop("bundle")
    path = None if bundle is None else Path(bundle)
    return Settings(**limits, keys=keys), ReaderSettings(**reader, bundle=path), content["workers"]
