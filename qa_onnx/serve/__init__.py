"""The HTTP server: `qa-onnx serve` (extra `serve`).

    settings.py    its limits and its model
    server.py      processes: one, or several that share a port
    protocol.py    a connection: size and time of heads
    middleware.py  each request: id, head (heads.py), host (hosts.py), key (keys.py), body, client that goes away,
                   log line, metrics
    endpoints.py   the paths: which are public, and what metrics call them
    app.py         the endpoints; schemas.py and results.py their JSON, bodies.py reads it, problems.py errors
    inference_protocol.py  the endpoints of the Open Inference Protocol; inference_schemas.py and tensors.py their
                   JSON and binary data
    document_files.py  POST /v1/documents: a file -> its text; document_schemas.py its JSON
    questions.py   POST /v1/answer: questions -> results, with progress; side_threads.py for what takes long
    pages.py       the pages; page/ the one at /, in parts
    service.py     the reader behind the endpoints
    mounting.py    the same endpoints as an application for a host, `create_app`; root_path.py: below which path
    ray_app.py     the same endpoints in replicas of Ray Serve (extra `ray`), without server.py and protocol.py

May import: everything of the run time, and appearance. Left out: TLS, and limits on the connections and the rate
of each client, which a reverse proxy does well.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qa_onnx.serve.mounting import MountedApp, create_app
    from qa_onnx.serve.settings import Settings

__all__ = ["MountedApp", "Settings", "create_app"]


def __getattr__(name: str) -> Any:
    """Import what a host needs at first use, after a look whether its packages are installed."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qa_onnx.machine.packages import require

    require("serve", onnxruntime=True)
    from qa_onnx.serve import mounting

    return getattr(mounting, name)
