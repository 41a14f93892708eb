"""Logs of the server: one JSON object a line, never a question or a context.

An error is logged with its type and its place in the code, but without its message, which may quote a text.
"""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from typing import Any

LOGGER = logging.getLogger("qa_onnx.serve")


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON; `extra={"fields": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        seconds, milliseconds = divmod(int(record.created * 1000), 1000)
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage().strip(),
            "process": os.getpid(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= describe_error(record.exc_info[1])
        return json.dumps(line)


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
