"""A worker of `qa-onnx serve --workers N`; the supervisor starts it and says on stdin what to do."""

from __future__ import annotations

import socket
import sys

from qa_onnx.cli import serve
from qa_onnx.errors import QaOnnxError
from qa_onnx.serve import logs, server, supervisor


def main() -> int:
    """Serve until the supervisor asks to stop, or is gone; returns the exit code."""
    server.end_at_a_signal()
    logs.start()
    told = supervisor.worker_settings()
    settings, reader, workers = serve.from_json(told)
    listener = socket.socket(fileno=told["socket"])
    try:
        clean = server.run(
            settings,
            serve.model(reader, workers),
            listener,
            accept_when_ready=True,
            orphaned=supervisor.orphaned,
        )
    except QaOnnxError as error:
        logs.LOGGER.error("cannot start", extra={"fields": {"reason": str(error)}})
        return supervisor.CANNOT_START
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
