"""Clients of `qa-onnx serve` in Python (extra `client`): `Client`, and `AsyncClient` for asyncio.

    messages.py      questions -> JSON -> answers, and problems -> errors
    attempts.py      one request: its deadline, and when it is sent again
    sync_client.py   Client
    async_client.py  AsyncClient

May import: the files of the root without the reader, machine. Left out: the Open Inference Protocol, which has
clients; token scores; evidence, which qa_onnx.documents finds in the text that the caller has.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qa_onnx.client.async_client import AsyncClient
    from qa_onnx.client.messages import AskOptions, ServedPrediction
    from qa_onnx.client.sync_client import Client

__all__ = ["AskOptions", "AsyncClient", "Client", "ServedPrediction"]
_MODULES = {"AsyncClient": "async_client", "Client": "sync_client"}


def __getattr__(name: str) -> Any:
    """Import a client at first use, after a look whether httpx is installed."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from qa_onnx.machine.packages import require

    require("client")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'messages')}"), name)
