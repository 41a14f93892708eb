"""Logs of the server: one JSON object a line. Never a question or a context.

An error is logged with its type and where it was raised, but without its message: that may quote what was asked.
"""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from typing import Any

LOGGER = logging.getLogger("qa_onnx.serve")
_OURS = ("qa_onnx", "uvicorn.error", "asyncio", "py.warnings")
_LEVELS = {"WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}


class JsonFormatter(logging.Formatter):
    """A record as a line of JSON; `extra={"fields": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        seconds, milliseconds = divmod(int(record.created * 1000), 1000)
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z",
            "level": _LEVELS.get(record.levelname, "info"),
            "message": record.getMessage().strip(),
            "process": os.getpid(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= raised(record.exc_info[1])
        return json.dumps(line)


def raised(error: BaseException) -> dict[str, Any]:
    """Type and origin of an error, and of the one behind it."""
    frames = traceback.extract_tb(error.__traceback__)
    fields: dict[str, Any] = {
        "error": type(error).__name__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]],
    }
    if error.__cause__ is not None:
        fields["cause"] = raised(error.__cause__)
    return fields


def start() -> None:
    """Send the logs of this process, which is the server's own, to stderr as JSON lines."""
    logging.captureWarnings(capture=True)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO if name == "qa_onnx" else logging.WARNING)
