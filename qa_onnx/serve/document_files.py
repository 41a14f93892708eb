"""POST /v1/documents: a file -> its text, by the parsers of the room `documents`, in processes of their own.

Left out: questions (questions.py); the text is sent back, and nothing of it is kept.
"""

from __future__ import annotations

from collections import deque
from email.message import Message
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response  # noqa: TC002 - FastAPI reads the annotations

from qa_onnx.documents import Document, DocumentReader, Limits
from qa_onnx.errors import InputError, MissingExtraError
from qa_onnx.serve import document_schemas, results
from qa_onnx.serve.endpoints import DOCUMENTS, LARGER_FILES
from qa_onnx.serve.problems import Problem
from qa_onnx.serve.side_threads import SideThreads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.serve.middleware import RequestState
    from qa_onnx.serve.service import Service
    from qa_onnx.serve.settings import Settings

_AT_ONCE = 2  # files that are read, each in a process: one that takes all of its time does not stop the others
_WAITING = 16
_LONGEST_S = 60.0
_LONGEST_NAME = 1000  # characters
_UNNAMED = "document"
# What raises a limit of documents on a server; the other limits stay.
_FLAGS = {"file_bytes": "--max-request-bytes", "characters": "--max-request-bytes", "seconds": "--timeout-s"}
_REQUEST: dict[str, Any] = {
    "parameters": [
        {
            "name": "Content-Disposition",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "The name of the file, whose ending says what it is; in UTF-8 as filename*=UTF-8''...",
            "example": 'attachment; filename="lease.pdf"',
        }
    ],
    "requestBody": {
        "required": True,
        "description": "The file as it is.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
}


class DocumentFiles:
    """Takes the text out of files, within the limits of a server.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: Settings) -> None:
        most = settings.max_request_bytes
        limits = Limits(
            file_bytes=LARGER_FILES * most,
            characters=most,  # a longer text could not be sent back to be asked
            seconds=max(1, int(min(_LONGEST_S, settings.timeout_s))),
        )
        self._idle = deque(DocumentReader(limits) for _ in range(_AT_ONCE))
        self._threads = SideThreads("documents", at_once=_AT_ONCE, waiting=_WAITING)

    async def read(self, data: bytes, name: str, deadline: float) -> Document:
        """Return the document in the bytes of a file.

        Args:
            data: of the file.
            name: of the file.
            deadline: by `time.monotonic`.

        Raises:
            Problem: 422, it cannot be read, or is beyond a limit; 429, too many files wait.
            MissingExtraError: its kind needs the extra `documents`.
            TimeoutError: the deadline has passed.
        """
        try:
            return await self._threads.run(partial(self._read, data, name), deadline)
        except MissingExtraError:
            raise
        except InputError as error:
            remedy = error.remedy
            if error.limit:
                flag = _FLAGS.get(error.limit)
                remedy = "split it" if flag is None else f"split it, or start the server with a higher {flag}"
            raise Problem(422, f"{error.problem}: {remedy}" if remedy else error.problem) from None

    def _read(self, data: bytes, name: str) -> Document:
        reader = self._idle.popleft()
        try:
            return reader.read_bytes(data, name)
        finally:
            self._idle.append(reader)

    def close(self) -> None:
        """End the processes that read nothing; the others end with their time."""
        for reader in self._idle:
            reader.close()


def add_endpoints(app: FastAPI, service: Service, key: Sequence[Any]) -> None:
    """Add the endpoint to an application.

    Args:
        app: of the server.
        service: that reads.
        key: dependencies of what needs an API key.
    """

    async def read(request: Request) -> Response:
        """Return the text of a file: PDF, DOCX, HTML, Markdown, CSV, TSV or plain text.

        Pages are separated by a newline and a form feed. Ask the text with POST /v1/answer.
        """
        state: RequestState = request.scope["qa_onnx"]
        if state.header(b"content-encoding", b"identity").lower() != "identity":
            raise Problem(415, "the body must not be compressed: omit the header Content-Encoding")
        name = _name_in(state.header(b"content-disposition"))
        data, state.body = bytes(state.body), bytearray()
        document = await service.files.read(data, name, state.deadline)
        fields = {key: getattr(document, key) for key in ("name", "kind", "pages", "text")}
        return results.respond(fields)

    model = document_schemas.DocumentText
    app.post(DOCUMENTS, response_model=model, dependencies=list(key), openapi_extra=_REQUEST)(read)


def _name_in(header: str) -> str:
    """Return the name of a file in a header Content-Disposition (RFC 6266).

    Raises:
        Problem: 422, it is too long.
    """
    message = Message()
    message["Content-Disposition"] = header.encode("latin-1").decode("utf-8", "replace")
    name = message.get_filename("").strip() or _UNNAMED
    if len(name) > _LONGEST_NAME:
        raise Problem(422, f"the name of the file has {len(name):,} characters: send at most {_LONGEST_NAME:,}")
    return name
