"""The paths of the endpoints: which need no API key, which take a body of what size, what metrics call them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.routing import BaseRoute

    from qa_onnx.serve.settings import Settings

PROTOCOL = "/v2"  # of the Open Inference Protocol; its version of the protocol is the 2
MODEL = "/v2/models/{name}"
VERSION = "/versions/{version}"
HEALTH = frozenset({"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"})
PUBLIC = HEALTH | {"/", "/docs", "/openapi.json"}  # need no API key
DOCUMENTS = "/v1/documents"
LARGER_FILES = 8  # times --max-request-bytes: a PDF or DOCX is larger than its text


class Endpoints:
    """The endpoints of an application.

    Args:
        routes: of the application.

    Attributes:
        posted: those that take a body.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        own = [route for route in routes if isinstance(route, Route)]
        self.posted = frozenset(route.path for route in own if "POST" in (route.methods or ()))
        self._fixed = frozenset(route.path for route in own if not route.param_convertors)
        self._patterns = [(route.path_regex, route.path) for route in own if route.param_convertors]

    def find(self, path: str) -> str:
        """Return the endpoint of a path, with {name} and {version} as they are here; "other" if there is none.

        A path may hold anything, and a metric needs a label for each value.
        """
        if path in self._fixed:
            return path
        return next((endpoint for pattern, endpoint in self._patterns if pattern.match(path)), "other")


def body_limit(endpoint: str, settings: Settings) -> int:
    """Return the bytes that a body may have: a file may be larger than its text, which is asked later."""
    if endpoint != DOCUMENTS:
        return settings.max_request_bytes
    return min(
        LARGER_FILES * settings.max_request_bytes, settings.total_bytes * 3 // 4
    )  # the rest is for small ones


def speaks_protocol(path: str) -> bool:
    """Return whether errors at a path have the form of the Open Inference Protocol."""
    return path == PROTOCOL or path.startswith(f"{PROTOCOL}/")
