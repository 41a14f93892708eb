"""`qa-onnx serve`: answer questions over HTTP, with a page for people."""

from __future__ import annotations

import dataclasses
import ipaddress
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.cli.options import ReaderSettings, between, reader_options
from qa_onnx.serve.settings import MAX_N_BEST, Model, Settings, limits

if TYPE_CHECKING:
    from collections.abc import Callable


def _limit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each limit of a server."""
    for limit in reversed(limits()):
        add = click.option(
            f"--{limit.name.replace('_', '-')}",
            type=between(limit.name),
            default=limit.default,
            show_default=limit.default is not None,
            help=limit.metadata["help"],
        )
        command = add(command)
    return command


@click.command(short_help="Answer over HTTP, with a page for people.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; 0.0.0.0: all of this machine.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free one.")
@click.option(
    "--workers",
    type=between("processes"),
    default=1,
    show_default=True,
    help="Processes, each with its own copy of the model and a part of the cores.",
)
@_limit_options
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="Keys, one a line; requests need one of them: Authorization: Bearer KEY.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    metavar="NAME",
    multiple=True,
    help="A name that clients have for this server, *.example.org, or * for any; may be given again. Always "
    "allowed: localhost and loopback addresses; unless --host is one, all addresses and names without a dot.",
)
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="Path below which a reverse proxy shows this server, such as /qa; it may cut it off or pass it on.",
)
@reader_options
def serve(
    *,
    settings: ReaderSettings,
    host: str,
    port: int,
    workers: int,
    api_key_file: Path | None,
    allowed_hosts: tuple[str, ...],
    root_path: str,
    **limits: Any,
) -> None:
    """Answer over HTTP, with a page for people at /.

    \b
    qa-onnx serve
    curl localhost:8000/v1/answer -H 'Content-Type: application/json' \\
         -d '{"question": "What is blue?", "context": "The boat is blue."}'

    /docs lists the endpoints; /v2 speaks the Open Inference Protocol, for clients of KServe and Triton.

    The address goes to stdout, the log to stderr as JSON lines. SIGTERM and Ctrl-C stop the server after all
    accepted requests are answered.
    """
    from qa_onnx.machine.packages import require

    require("serve", onnxruntime=True)
    from qa_onnx.serve import keys, logs, server

    if settings.n_best is not None and settings.n_best > MAX_N_BEST:
        raise click.UsageError(f"--n-best is {settings.n_best}; for a server it may be {MAX_N_BEST} at most")
    logs.start()
    accepted = () if api_key_file is None else keys.read_keys(api_key_file)
    configured = Settings(**limits, keys=accepted, allowed_hosts=allowed_hosts, root_path=root_path)
    served = model(settings, workers)
    server.open_streams()
    listener = server.listen(host, port)
    server.exit_at_signals()
    address, bound = listener.getsockname()[:2]
    loopback = ipaddress.ip_address(address.partition("%")[0]).is_loopback
    configured = dataclasses.replace(configured, loopback=loopback)
    click.echo(f"http://{f'[{address}]' if ':' in address else address}:{bound}/")
    sys.stdout.flush()
    if not configured.keys and not loopback:
        logs.LOGGER.warning("everyone who reaches this address can ask questions: --api-key-file limits that")
    if workers == 1:
        server.run(configured, served, listener)
    elif not server.run_workers(configured, served, listener, workers):
        raise click.ClickException("the workers did not start, or were killed: see the log above")


def model(settings: ReaderSettings, workers: int) -> Model:
    """Resolve which model to serve in a number of worker processes, with the checks that are quick.

    Raises:
        QaOnnxError: the bundle is not complete, or has nothing for the engine and device.
    """
    from qa_onnx.machine import cpu

    found = Model.resolve(
        settings.bundle,
        **settings.runtime(),
        share=None if workers == 1 else max(1, cpu.default_threads() // workers),
        allow_fallback=settings.allow_fallback,
        require_signature=settings.require_signature,
    )
    return dataclasses.replace(found, options=settings.change(found.options))
