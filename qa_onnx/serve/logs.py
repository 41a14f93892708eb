"""Logs of the server: one JSON object a line, never a question or a context.

An error is logged with its type and its place in the code, but without its message, which may quote a text.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

LOGGER = logging.getLogger("qa_onnx.serve")


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON; `extra={"fields": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            fields = fields | describe_error(record.exc_info[1])
        return json.dumps(_line(record.created, record.levelname.lower(), record.getMessage().strip(), fields))


def log_request(fields: dict[str, Any], *, directly: bool) -> None:
    """Log a request.

    Args:
        fields: of the line.
        directly: write it to stderr, at a third of the cost of a logger's; False: the host decides where logs go.
    """
    if not directly:
        LOGGER.info("request", extra={"fields": fields})
        return
    with suppress(OSError):  # nobody reads it any more
        sys.stderr.write(to_json(_line(time.time(), "info", "request", fields)).decode() + "\n")


def _line(seconds: float, level: str, message: str, fields: dict[str, Any]) -> dict[str, Any]:
    when = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": when, "level": level, "message": message, "process": os.getpid(), **fields}


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return type and place of an error, and of its cause."""
    frames = traceback.extract_tb(error.__traceback__)
    fields: dict[str, Any] = {
        "error": type(error).__name__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]],
    }
    if error.__cause__ is not None:
        fields["cause"] = describe_error(error.__cause__)
    return fields


def start() -> None:
    """Send the logs of this process to stderr as JSON lines."""
    logging.captureWarnings(capture=True)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name, level in (
        ("qa_onnx", logging.INFO),
        ("uvicorn.error", logging.INFO),  # its name for all but the access log: processes that start, stop, die
        ("asyncio", logging.WARNING),
        ("py.warnings", logging.WARNING),
    ):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)
