"""The paths of the endpoints: which need no API key, which take a body of what size, what metrics call them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qa_onnx.serve.settings import Settings

PROTOCOL = "/v2"  # of the Open Inference Protocol; its version of the protocol is the 2
MODEL = "/v2/models/{name}"
VERSION = "/versions/{version}"
HEALTH = frozenset({"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"})
PUBLIC = HEALTH | {"/", "/docs", "/openapi.json"}  # need no API key
DOCUMENTS = "/v1/documents"
LARGER_FILES = 8  # times --max-request-bytes: a PDF or DOCX is larger than its text
POSTED = frozenset({"/v1/answer", DOCUMENTS, "/v1/scores", f"{MODEL}/infer", f"{MODEL}{VERSION}/infer"})
ENDPOINTS = (
    PUBLIC
    | POSTED
    | {"/metrics", "/v1/bundle", PROTOCOL}
    | {f"{MODEL}{version}{end}" for version in ("", VERSION) for end in ("", "/ready")}
)

_OF_A_MODEL = re.compile(r"/v2/models/[^/\n]+(/versions/[^/\n]+)?(/ready|/infer)?")


def endpoint_of(path: str) -> str:
    """Return the endpoint of a path, with {name} and {version} as they are here; "other" if there is none.

    A path may hold anything, and a metric needs a label for each value.
    """
    if path in ENDPOINTS:
        return path
    match = _OF_A_MODEL.fullmatch(path)
    return "other" if match is None else MODEL + (VERSION if match[1] else "") + (match[2] or "")


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
